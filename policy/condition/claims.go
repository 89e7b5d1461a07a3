package condition

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

var errClaims = errors.New("principal.claims is not a JSON object")

// claimMap returns the claims of the token, or an empty map if there is no token.
func (e *evaluation) claimMap() (ref.Val, error) {
	if e.claims != nil {
		return e.claims, nil
	}
	claims := map[string]any{}
	if e.in.Claims != nil {
		text, err := e.in.Claims()
		if err != nil {
			return nil, err
		}
		if claims, err = decodeClaims(text); err != nil {
			return nil, err
		}
	}
	e.claims = types.NewStringInterfaceMap(types.DefaultTypeAdapter, claims)
	return e.claims, nil
}

// decodeClaims reads a JSON object. Package token has checked that no member occurs twice and
// that the object is not nested too deep.
func decodeClaims(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil || claims == nil {
		return nil, errClaims
	}
	for name, v := range claims {
		value, err := claimValue(v)
		if err != nil { // the whole claim is an error, so that the rest of a list does not compare without this item
			claims[name] = types.WrapErr(err)
			continue
		}
		claims[name] = value
	}
	return claims, nil
}

// claimValue replaces the text of each number by its value: int for whole numbers, double for
// others.
func claimValue(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return claimNumber(v.String())
	case []any:
		for i, item := range v {
			value, err := claimValue(item)
			if err != nil {
				return nil, err
			}
			v[i] = value
		}
	case map[string]any:
		for name, item := range v {
			value, err := claimValue(item)
			if err != nil {
				return nil, err
			}
			v[name] = value
		}
	}
	return v, nil
}

// maxExact is the first number from which a double represents more than one whole number.
const maxExact = 1 << 53

// claimNumber reads a number. A number that would be rounded is an error: it could be the
// id of an account, and would compare equal to that of another one.
func claimNumber(text string) (any, error) {
	if !strings.ContainsAny(text, ".eE") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", text)
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(f) >= maxExact {
		return nil, fmt.Errorf("the number %s is out of range", text)
	}
	return f, nil
}
