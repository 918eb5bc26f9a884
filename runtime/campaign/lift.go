package campaign

import "math"

// Share is a number of subjects, and how many of them responded.
type Share struct {
	Subjects  uint64 `json:"subjects"`
	Responded uint64 `json:"responded"`
}

// Rate is the share that responded; 0 of nobody.
func (s Share) Rate() float64 {
	if s.Subjects == 0 {
		return 0
	}
	return float64(s.Responded) / float64(s.Subjects)
}

// Lift is how much more of those contacted responded than of those held out, as a difference of rates.
type Lift struct {
	// Difference is the rate of those contacted less that of those held out; Low and High bound it at 95 %.
	Difference float64 `json:"difference"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	// Relative is Difference as a share of the rate of those held out; nil where nobody of them responded.
	Relative *float64 `json:"relative,omitempty"`
}

// z95 is the standard normal quantile of 0.975.
const z95 = 1.959963984540054

// wilson bounds a rate: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
// Journal of the American Statistical Association 22 (1927), 209–212.
func wilson(s Share) (low, high float64) {
	n := float64(s.Subjects)
	p := s.Rate()
	z2 := z95 * z95
	middle := p + z2/(2*n)
	half := z95 * math.Sqrt(p*(1-p)/n+z2/(4*n*n))
	scale := 1 + z2/n
	return max(0, (middle-half)/scale), min(1, (middle+half)/scale)
}

// LiftOf compares those contacted with those held out. The interval is method 10, the hybrid score interval,
// of R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of
// eleven methods", Statistics in Medicine 17 (1998), 873–890. ok is false where one side has nobody.
func LiftOf(contacted, heldOut Share) (lift Lift, ok bool) {
	if contacted.Subjects == 0 || heldOut.Subjects == 0 {
		return Lift{}, false
	}
	p1, p2 := contacted.Rate(), heldOut.Rate()
	l1, u1 := wilson(contacted)
	l2, u2 := wilson(heldOut)
	lift.Difference = p1 - p2
	lift.Low = lift.Difference - math.Sqrt((p1-l1)*(p1-l1)+(u2-p2)*(u2-p2))
	lift.High = lift.Difference + math.Sqrt((u1-p1)*(u1-p1)+(p2-l2)*(p2-l2))
	if p2 > 0 {
		relative := lift.Difference / p2
		lift.Relative = &relative
	}
	return lift, true
}
