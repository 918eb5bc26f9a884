package onnx

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// simplify drops steps that change nothing and steps that nobody reads. Results stay the same bit for
// bit.
func simplify(m *ir.Model) {
	lengths, err := m.Lengths()
	if err != nil {
		return
	}
	for i, s := range m.Steps {
		switch s := s.(type) {
		case *ir.Gather:
			throughGather(m, s, lengths)
			if copies(s, lengths) {
				m.Steps[i] = &ir.Concat{Parts: []ir.Ref{s.In}}
			}
		case *ir.Trees:
			if s.Row == ir.F32 {
				s.In = withoutCast(m, s.In)
			}
		case *ir.Affine:
			if s.Width == ir.F32 {
				s.In = withoutCast(m, s.In)
			}
		case *ir.Linear:
			if s.Width == ir.F32 {
				s.In = withoutCast(m, s.In)
			}
		}
	}
	skipCopies(m)
	dropUnread(m)
}

// at is the step that makes r, nil for the row.
func at(m *ir.Model, r ir.Ref) ir.Step {
	if r == ir.Input {
		return nil
	}
	return m.Steps[r-1]
}

// withoutCast is what a step that rounds to 32 bits itself may read instead of r.
func withoutCast(m *ir.Model, r ir.Ref) ir.Ref {
	if c, ok := at(m, r).(*ir.Cast); ok && c.To == ir.ToF32 {
		return c.In
	}
	return r
}

// throughGather lets a step that picks columns read where those that it reads come from.
func throughGather(m *ir.Model, s *ir.Gather, lengths []int) {
	for {
		switch from := at(m, s.In).(type) {
		case *ir.Gather:
			columns := make([]int, len(s.Columns))
			for i, c := range s.Columns {
				columns[i] = from.Columns[c]
			}
			s.In, s.Columns = from.In, columns
		case *ir.Concat:
			part, columns := onePart(from, s.Columns, lengths)
			if columns == nil {
				return
			}
			s.In, s.Columns = part, columns
		default:
			return
		}
	}
}

// onePart is the part of a Concat that all columns lie in, with their places there.
func onePart(from *ir.Concat, columns []int, lengths []int) (ir.Ref, []int) {
	begin := 0
	for _, part := range from.Parts {
		end := begin + lengths[part]
		if slices.Min(columns) >= begin && slices.Max(columns) < end {
			inside := make([]int, len(columns))
			for i, c := range columns {
				inside[i] = c - begin
			}
			return part, inside
		}
		begin = end
	}
	return 0, nil
}

// copies tells whether s takes a vector as it is.
func copies(s *ir.Gather, lengths []int) bool {
	if len(s.Columns) != lengths[s.In] {
		return false
	}
	for i, c := range s.Columns {
		if i != c {
			return false
		}
	}
	return true
}

// skipCopies lets everybody read the vector that a Concat of one part copies.
func skipCopies(m *ir.Model) {
	same := make([]ir.Ref, len(m.Steps)+1)
	for i := range same {
		same[i] = ir.Ref(i)
	}
	for i, s := range m.Steps {
		renumber(s, same)
		if c, ok := s.(*ir.Concat); ok && len(c.Parts) == 1 {
			same[i+1] = c.Parts[0]
		}
	}
	m.Raw, m.Output = same[m.Raw], same[m.Output]
}

// dropUnread leaves out the steps that the results do not need.
func dropUnread(m *ir.Model) {
	read := make([]bool, len(m.Steps)+1)
	read[m.Raw], read[m.Output] = true, true
	var refs []ir.Ref
	for i, s := range slices.Backward(m.Steps) {
		if !read[i+1] {
			continue
		}
		refs = s.From(refs[:0])
		for _, r := range refs {
			read[r] = true
		}
	}
	to := make([]ir.Ref, len(m.Steps)+1)
	var kept []ir.Step
	for i, s := range m.Steps {
		if !read[i+1] {
			continue
		}
		renumber(s, to)
		kept = append(kept, s)
		to[i+1] = ir.Ref(len(kept))
	}
	m.Steps, m.Raw, m.Output = kept, to[m.Raw], to[m.Output]
}

// renumber replaces what a step reads.
func renumber(s ir.Step, to []ir.Ref) {
	switch s := s.(type) {
	case *ir.Gather:
		s.In = to[s.In]
	case *ir.Concat:
		for i, r := range s.Parts {
			s.Parts[i] = to[r]
		}
	case *ir.Cast:
		s.In = to[s.In]
	case *ir.Impute:
		s.In = to[s.In]
	case *ir.Affine:
		s.In = to[s.In]
	case *ir.OneHot:
		s.In = to[s.In]
	case *ir.Lookup:
		s.In = to[s.In]
	case *ir.Linear:
		s.In = to[s.In]
	case *ir.Arith:
		s.A, s.B = to[s.A], to[s.B]
	case *ir.Where:
		s.Cond, s.A, s.B = to[s.Cond], to[s.A], to[s.B]
	case *ir.Activation:
		s.In = to[s.In]
	case *ir.Normalize:
		s.In = to[s.In]
	case *ir.Reduce:
		s.In = to[s.In]
	case *ir.Trees:
		s.In = to[s.In]
	}
}
