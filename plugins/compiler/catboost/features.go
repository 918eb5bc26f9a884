package catboost

import (
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// features lays the inputs out in the order of CatBoost's flat index, which is that of the columns the
// model was trained on.
func (r *reader) features() error {
	type input struct {
		flat  int
		float *floatFeature
		cat   *catFeature
	}
	info := &r.file.Features
	var inputs []input
	for i := range info.Floats {
		inputs = append(inputs, input{flat: info.Floats[i].Flat, float: &info.Floats[i]})
	}
	for i := range info.Categories {
		if len(info.Categories[i].Values) == 0 {
			// No tree asks for it, so it has no codes and no row could hold it.
			r.model.Warnings = append(r.model.Warnings, fmt.Sprintf("the model does not use the categorical feature %q; it is left out", shorten(info.Categories[i].name())))
			continue
		}
		inputs = append(inputs, input{flat: info.Categories[i].Flat, cat: &info.Categories[i]})
	}
	slices.SortStableFunc(inputs, func(a, b input) int { return a.flat - b.flat })
	r.numbers, r.categories = map[int]number{}, map[int]category{}
	known := info.texts()
	seen := map[string]bool{}
	for column, in := range inputs {
		if column > 0 && inputs[column-1].flat == in.flat {
			return invalid("two features have the flat_feature_index %d; %s", in.flat, remedy)
		}
		n := &names{}
		if in.float != nil {
			n = &in.float.names
			if err := r.number(in.float, int32(column)); err != nil {
				return err
			}
			r.model.Inputs = append(r.model.Inputs, ir.Variable{Name: n.name()})
		} else {
			n = &in.cat.names
			v, err := r.category(in.cat, int32(column), known)
			if err != nil {
				return err
			}
			r.model.Inputs = append(r.model.Inputs, v)
		}
		if seen[n.name()] {
			return invalid("two features have the same name (flat_feature_index %d is the second); name the features apart before training", in.flat)
		}
		seen[n.name()] = true
	}
	return nil
}

func (r *reader) number(f *floatFeature, column int32) error {
	if _, twice := r.numbers[f.Index]; twice {
		return invalid("two numeric features have the feature_index %d; %s", f.Index, remedy)
	}
	n := number{column: column}
	switch f.Treatment {
	case "AsTrue":
		// CatBoost replaces NaN only in features that had NaN when it was trained.
		n.missingGreater = f.HasNaNs
	case "AsFalse", "AsIs", "":
		// NaN > border is false, and so is -Inf > border.
	default:
		return invalid("numeric feature %d has an unknown nan_value_treatment; %s", f.Flat, remedy)
	}
	r.numbers[f.Index] = n
	return nil
}

func (r *reader) category(f *catFeature, column int32, known map[int32]string) (ir.Variable, error) {
	v := ir.Variable{Name: f.name()}
	if _, twice := r.categories[f.Index]; twice {
		return v, invalid("two categorical features have the feature_index %d; %s", f.Index, remedy)
	}
	c := category{column: column, codes: map[int32]int{}}
	for code, hash := range f.Values {
		if _, twice := c.codes[hash]; twice {
			return v, invalid("categorical feature %d lists a value twice; %s", f.Flat, remedy)
		}
		c.codes[hash] = code
	}
	r.categories[f.Index] = c
	if len(f.Texts) == len(f.Values) {
		for i, text := range f.Texts {
			if Hash(text) == f.Values[i] {
				known[f.Values[i]] = text
			}
		}
	}
	for _, hash := range f.Values {
		text, ok := known[hash]
		if !ok {
			v.Categories, v.Hashes = nil, f.Values
			return v, nil
		}
		v.Categories = append(v.Categories, text)
	}
	return v, nil
}

// texts are the texts of hashes, as far as the file lists them. What does not hash to its hash is left
// out: a wrong text would give wrong scores.
func (i *featuresInfo) texts() map[int32]string {
	known := map[int32]string{}
	for _, h := range i.Hashes {
		if Hash(h.Text) == int32(h.Hash) {
			known[int32(h.Hash)] = h.Text
		}
	}
	return known
}

// Name gives a hashed input its texts: those of levels whose hashes the model knows become the
// categories at their codes. Codes that none of the levels has keep a placeholder that no customer's
// text equals by chance. It tells how many were found; levels that the model does not know are left
// out, as CatBoost treats them like any unknown text.
func Name(v *ir.Variable, levels []string) (found int, err error) {
	codes := make(map[int32]int, len(v.Hashes))
	for code, hash := range v.Hashes {
		codes[hash] = code
	}
	categories := make([]string, len(v.Hashes))
	named := make([]bool, len(v.Hashes))
	for _, level := range levels {
		code, ok := codes[Hash(level)]
		switch {
		case !ok || named[code] && categories[code] == level:
		case named[code]:
			return 0, invalid("two levels of feature %q have the same hash, so the model cannot tell them apart; leave one out", v.Name)
		default:
			categories[code], named[code] = level, true
			found++
		}
	}
	for code := range categories {
		if !named[code] {
			categories[code] = placeholder(v.Hashes[code])
		}
	}
	v.Categories, v.Hashes = categories, nil
	return found, nil
}
