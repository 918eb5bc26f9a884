package ir

// Redirect replaces the vectors that a step reads.
func Redirect(s Step, to func(Ref) Ref) {
	switch s := s.(type) {
	case *Gather:
		s.In = to(s.In)
	case *Concat:
		for i := range s.Parts {
			s.Parts[i] = to(s.Parts[i])
		}
	case *Cast:
		s.In = to(s.In)
	case *Impute:
		s.In = to(s.In)
	case *Affine:
		s.In = to(s.In)
	case *OneHot:
		s.In = to(s.In)
	case *Lookup:
		s.In = to(s.In)
	case *Bucket:
		s.In = to(s.In)
	case *Linear:
		s.In = to(s.In)
	case *Arith:
		s.A, s.B = to(s.A), to(s.B)
	case *Where:
		s.Cond, s.A, s.B = to(s.Cond), to(s.A), to(s.B)
	case *Activation:
		s.In = to(s.In)
	case *Normalize:
		s.In = to(s.In)
	case *Reduce:
		s.In = to(s.In)
	case *Trees:
		s.In = to(s.In)
	case *Oblivious:
		s.In = to(s.In)
	}
}
