package ir

import "math"

// The functions below are what the emitter writes into modules, operation by operation: what differs
// here from package math is what makes both agree on every bit. The conversions keep the Go compiler
// from fusing multiplications with additions.

// The constants of Exp, from fdlibm's e_exp.c.
const (
	ExpOverflow  = 7.09782712893383973096e+02
	ExpUnderflow = -7.45133219101941108420e+02
	Log2E        = 1.44269504088896338700e+00
	Ln2High      = 6.93147180369123816490e-01 // trailing zeros make k×Ln2High exact
	Ln2Low       = 1.90821492927058770002e-10
	ExpP1        = 1.66666666666666657415e-01
	ExpP2        = -2.77777777770155933842e-03
	ExpP3        = 6.61375632143793436117e-05
	ExpP4        = -1.65339022054652515390e-06
	ExpP5        = 4.13813679705723846039e-08
)

// ExpOf is e^x, within one unit in the last place: fdlibm's algorithm.
func ExpOf(x float64) float64 {
	switch {
	case x != x:
		return x
	case x > ExpOverflow:
		return math.Inf(1)
	case x < ExpUnderflow:
		return 0
	}
	k := math.RoundToEven(float64(x * Log2E))
	high := x - float64(k*Ln2High)
	low := float64(k * Ln2Low)
	r := high - low
	t := float64(r * r)
	c := ExpP4 + float64(t*ExpP5)
	c = ExpP3 + float64(t*c)
	c = ExpP2 + float64(t*c)
	c = ExpP1 + float64(t*c)
	c = r - float64(t*c)
	y := 1 - ((low - float64(r*c)/(2-c)) - high)
	half := int64(k) >> 1
	return float64(y*power2(half)) * power2(int64(k)-half)
}

// power2 is 2^k for a normal result.
func power2(k int64) float64 { return math.Float64frombits(uint64(k+1023) << 52) }

// The constants of LogOf, from fdlibm's e_log.c.
const (
	Log1 = 6.666666666666735130e-01
	Log2 = 3.999999999940941908e-01
	Log3 = 2.857142874366239149e-01
	Log4 = 2.222219843214978396e-01
	Log5 = 1.818357216161805012e-01
	Log6 = 1.531383769920937332e-01
	Log7 = 1.479819860511658591e-01
)

// LogOf is the natural logarithm: fdlibm's algorithm on x = 2^k × f with sqrt(1/2) <= f < sqrt(2).
func LogOf(x float64) float64 {
	switch {
	case x != x || x > math.MaxFloat64:
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	k := 0.0
	if x < 0x1p-1022 {
		x, k = x*0x1p54, -54
	}
	// Adding the distance of sqrt(1/2) to 1 carries into the exponent from f >= sqrt(1/2) on.
	b := math.Float64bits(x) + logShift
	k += float64(int64(b>>52) - 1023)
	f := math.Float64frombits(b&(1<<52-1)+sqrtHalfBits) - 1
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := Log5 + float64(s4*Log7)
	t1 = Log3 + float64(s4*t1)
	t1 = Log1 + float64(s4*t1)
	t1 = float64(s2 * t1)
	t2 := Log4 + float64(s4*Log6)
	t2 = Log2 + float64(s4*t2)
	t2 = float64(s4 * t2)
	r := t1 + t2
	h := float64(float64(0.5*f) * f)
	return float64(k*Ln2High) - ((h - (float64(s*(h+r)) + float64(k*Ln2Low))) - f)
}

const (
	sqrtHalfBits = 0x3fe6a09e667f3bcd
	logShift     = 0x3ff0000000000000 - sqrtHalfBits
)

// Log1pExpOf is log(1 + e^x); from 37 on that is x + e^-x to the last place.
func Log1pExpOf(x float64) float64 {
	if x > 37 {
		return x + ExpOf(-x)
	}
	y := ExpOf(x)
	u := 1 + y
	if u == 1 {
		return y
	}
	// log(u) × y / (u-1) corrects for what 1 + y lost.
	return float64(LogOf(u)*y) / (u - 1)
}

// TanhTerms is the number of terms of TanhOf's series beyond x.
const TanhTerms = 7

// TanhTerm is the coefficient of x^(2i+3) in tanh's Taylor series.
func TanhTerm(i int) float64 {
	return [TanhTerms]float64{-1.0 / 3, 2.0 / 15, -17.0 / 315, 62.0 / 2835, -1382.0 / 155925, 21844.0 / 6081075, -929569.0 / 638512875}[i]
}

// TanhSmall is the magnitude up to which TanhOf uses the series.
const TanhSmall = 0.125

// TanhOf is the hyperbolic tangent within a few units in the last place.
func TanhOf(x float64) float64 {
	if math.Abs(x) <= TanhSmall {
		t := float64(x * x)
		p := TanhTerm(TanhTerms - 1)
		for i := TanhTerms - 2; i >= 0; i-- {
			p = float64(p*t) + TanhTerm(i)
		}
		return x + float64(float64(x*t)*p)
	}
	return 1 - 2/(ExpOf(2*x)+1)
}

// SigmoidOf is 1 / (1 + exp(-x)).
func SigmoidOf(x float64) float64 { return 1 / (1 + ExpOf(-x)) }

// The constants of SigmoidXG, common/math.h of XGBoost.
const (
	SigmoidClip    = float64(float32(88.7))
	SigmoidEpsilon = float32(1e-16)
)

// SigmoidXGOf is XGBoost's sigmoid in 32 bits.
func SigmoidXGOf(x float32) float32 {
	d := float32(ExpOf(min(-float64(x), SigmoidClip))) + 1
	d += SigmoidEpsilon
	return 1 / d
}

// ProbitOf is what onnxruntime computes for PROBIT: sqrt(2) × inverse error function of 2x-1, by
// Winitzki's approximation in 32 bits (ml_common.h).
func ProbitOf(x float32) float32 {
	x = float32(2*x) - 1
	sign := float32(1)
	if x < 0 {
		sign = -1
	}
	x = float32((1 - x) * (1 + x))
	l := float32(LogOf(float64(x)))
	v := float32(2/float32(math.Pi*0.147)) + float32(0.5*l)
	v2 := float32(float32(1) / float32(0.147) * l)
	v3 := -v + float32(math.Sqrt(float64(float32(v*v)-v2)))
	return float32(1.41421356) * float32(sign*float32(math.Sqrt(float64(v3))))
}
