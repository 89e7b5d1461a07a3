package diff

import (
	"cmp"
	"net/netip"

	"warder/cmd/warder/internal/cli"
	"warder/policy"
	"warder/policy/compare"
)

// A diffRow is the comparison of two policies, as JSON.
type diffRow struct {
	Differ  bool        `json:"differ"`
	Old     sideRow     `json:"old"`
	New     sideRow     `json:"new"`
	Changes []changeRow `json:"changes"`
	Moved   []changeRow `json:"moved"`
	GoneIDs []string    `json:"gone_ids"`
	Others  []string    `json:"other_ids"`
}

type sideRow struct {
	Hash      string `json:"policy_hash"`
	AdminRole string `json:"admin_role"`
}

type changeRow struct {
	Old    *ruleRow    `json:"old"` // null if no route matches the requests
	New    *ruleRow    `json:"new"`
	Gained []accessRow `json:"gained"`
	Lost   []accessRow `json:"lost"`
	Places []placeRow  `json:"places"`
}

type ruleRow struct {
	Route  string `json:"route"`
	Who    string `json:"who"` // in words
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

type accessRow struct {
	Who                string         `json:"who"`
	Words              string         `json:"words"`
	Open               bool           `json:"open"` // no credential is needed
	Sets               [][]string     `json:"sets"` // of roles or scopes; each set is enough
	Admin              bool           `json:"admin"`
	Origins            []string       `json:"origins"`
	Addresses          []netip.Prefix `json:"addresses"`
	AddressesUnlisted  bool           `json:"addresses_unlisted"`
	Principals         []string       `json:"principals"`
	PrincipalsUnlisted bool           `json:"principals_unlisted"`
	PathAllows         []string       `json:"path_allows"`
	When               bool           `json:"when"` // access changed where one condition is true and the other is not
}

type placeRow struct {
	Host    string   `json:"host"` // "*" for any
	Methods []string `json:"methods"`
	Path    string   `json:"path"`
	Partly  bool     `json:"partly"` // more specific routes match some of it
	Example string   `json:"example"`
}

func diffRowOf(found compare.Diff, before, after *policy.Policy) diffRow {
	return diffRow{
		Differ:  differ(found),
		Old:     sideRow{before.Hash(), before.AdminRole()},
		New:     sideRow{after.Hash(), after.AdminRole()},
		Changes: changeRows(found.Changes),
		Moved:   changeRows(found.Moved),
		GoneIDs: cli.SomeOrEmpty(found.GoneIDs),
		Others:  cli.SomeOrEmpty(found.OtherIDs),
	}
}

func changeRows(changes []compare.Change) []changeRow {
	rows := []changeRow{}
	for _, c := range changes {
		row := changeRow{
			Old: ruleRowOf(c.Old, c.OldRefuses), New: ruleRowOf(c.New, c.NewRefuses),
			Gained: accessRows(c, c.Gained, true), Lost: accessRows(c, c.Lost, false),
		}
		for _, p := range c.Places {
			row.Places = append(row.Places, placeRow{
				Host: cmp.Or(p.Host, "*"), Methods: p.Methods, Path: p.Path, Partly: p.Partly,
				Example: p.Example.Method + " https://" + p.Example.Host + p.Example.Path,
			})
		}
		rows = append(rows, row)
	}
	return rows
}

func ruleRowOf(r *policy.Route, refuses bool) *ruleRow {
	if r == nil {
		return nil
	}
	return &ruleRow{r.ID, ruleWords(r, refuses), r.Position.File, r.Position.Line, r.Position.Column}
}

func accessRows(c compare.Change, list []compare.Access, gained bool) []accessRow {
	rows := []accessRow{}
	for _, a := range list {
		row := accessRow{
			Who: whoName(a.Who), Words: accessWords(c, a, gained), Open: gained && opens(c, a),
			Sets: a.Sets, Admin: a.Admin, Origins: cli.SomeOrEmpty(a.Origins),
			Addresses: []netip.Prefix{}, Principals: []string{}, PathAllows: []string{}, When: a.When,
		}
		if row.Sets == nil {
			row.Sets = [][]string{}
		}
		for i, set := range row.Sets {
			row.Sets[i] = cli.SomeOrEmpty(set)
		}
		if a.From != nil {
			row.Addresses, row.AddressesUnlisted = a.From.Prefixes, a.From.Unlisted
		}
		if a.Through != nil {
			row.Principals, row.PrincipalsUnlisted = cli.SomeOrEmpty(a.Through.Patterns), a.Through.Unlisted
		}
		if a.Forms != 0 {
			row.PathAllows = a.Forms.Names()
		}
		rows = append(rows, row)
	}
	return rows
}

// whoName returns the stable name of w in JSON.
func whoName(w compare.Who) string {
	switch w {
	case compare.WhoAnybody:
		return "anybody"
	case compare.WhoNoCredential:
		return "no_credential"
	case compare.WhoUsers:
		return "users"
	case compare.WhoAPIKeys:
		return "api_keys"
	case compare.WhoBadToken:
		return "bad_token"
	case compare.WhoBadKey:
		return "bad_api_key"
	case compare.WhoBoth:
		return "token_and_api_key"
	case compare.WhoPreflight:
		return "preflights"
	case compare.WhoPasses:
	}
	return "all_who_pass"
}
