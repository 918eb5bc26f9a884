package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestExplain takes conditions apart that are not true, and names what is there and what would have to be.
func TestExplain(t *testing.T) {
	env, vars := testEnv(t), testVars(testDictionary(t))
	for source, want := range map[string]string{
		`subject.tenure >= 24`:                            "subject.tenure: 18, at least 24",
		`24 <= subject.tenure`:                            "subject.tenure: 18, at least 24",
		`subject.tenure >= 24 && subject.partner`:         "subject.tenure: 18, at least 24",
		`subject.tenure >= 24 || subject.contract == "x"`: "subject.tenure: 18, at least 24",
		`!(subject.tenure < 24)`:                          "subject.tenure: 18, at least 24",
		`!subject.partner`:                                "subject.partner: true, false",
		`subject.contract in ["One year", "Two year"]`:    `subject.contract: "Month-to-month", one of ["One year", "Two year"]`,
		`!(subject.contract in ["Month-to-month"])`:       `subject.contract: "Month-to-month", none of ["Month-to-month"]`,
		`has(subject.usage)`:                              "subject.usage: not known, known",
		`subject.usage > 3`:                               "subject.usage: not known, more than 3",
		`subject.income > 3.0`:                            "subject.income: may not be used, more than 3.0",
		`subject.charges < double(subject.tenure)`:        "subject.charges: 79.5, less than double(subject.tenure) (18)",
		`contexts["page"] == "devices"`:                   `contexts["page"]: "plans", "devices"`,
		`"location" in contexts`:                          `context "location": not given, given`,
		`subject.tenure > 20 && (subject.charges < 1.0 || subject.charges > 100.0 && subject.partner)`: "subject.tenure: 18, more than 20; subject.charges: 79.5, less than 1.0",
		`subject.partner`: "",
		`subject.`:        "",
	} {
		var got []string
		for _, c := range env.Explain(source, vars).Failing() {
			if c.Subject != "" {
				got = append(got, fmt.Sprintf("%s: %s, %s", c.Subject, c.Actual, c.Required))
			}
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%s:\n got %s\nwant %s", source, text, want)
		}
	}
}

// TestExplainAgrees: the whole and the parts of random conditions come out as they are evaluated, and a
// condition that is not true has something that fails, one that is true nothing.
func TestExplainAgrees(t *testing.T) {
	env, vars := testEnv(t), testVars(testDictionary(t))
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		source := generator{choose: r.IntN}.bool(3)
		p, problems := env.Compile(source, BoolResult)
		if len(problems) > 0 {
			continue
		}
		want := p.Bool(vars)
		got := env.Explain(source, vars)
		if got.Verdict != want || (len(got.Failing()) == 0) != (want == True) {
			t.Errorf("%s is %s: explained as %s with %d that fail", source, want, got.Verdict, len(got.Failing()))
		}
	}
}
