package policy

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

var errClaims = errors.New("principal.claims is no JSON object")

// claimMap returns the claims of the token; an empty map when there is no token.
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

// decodeClaims reads a JSON object. That no member stands in it twice, and that it is not
// too deep, was checked with the token.
func decodeClaims(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil || claims == nil {
		return nil, errClaims
	}
	for name, v := range claims {
		value, err := claimValue(v)
		if err != nil { // with all that stands beside it in a list: no part of it compares as if it were not there
			claims[name] = types.WrapErr(err)
			continue
		}
		claims[name] = value
	}
	return claims, nil
}

// claimValue puts numbers in the place of their text: whole ones as int, others as double.
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

// maxExact is where a double begins to stand for more than one whole number.
const maxExact = 1 << 53

// claimNumber reads a number. One that would be rounded to another is an error when the
// claim is read: 99999999999999999999 and its neighbour are two accounts.
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
