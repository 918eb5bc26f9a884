// Package ir is the form between a model file and a WebAssembly module: a straight-line program over
// vectors of numbers, exact in its thresholds, in its missing values and in the order and width of its
// sums. A frontend for each file format writes it, the emitter reads it, and its interpreter is the
// oracle that both are held against.
//
// A Model is a list of steps. Ref 0 is the row of inputs, Ref i the result of Steps[i-1]; a step reads
// only earlier results. All numbers are kept in 64 bits; a missing value is NaN. A step of width F32
// rounds what it reads to 32 bits, rounds after every single operation, and so leaves numbers that fit
// 32 bits. It never fuses a multiplication with an addition.
//
// The package knows no file format and writes no module.
package ir

// Width is the precision of an operation.
type Width uint8

// The widths.
const (
	F64 Width = iota
	F32
)

// Ref names a vector: 0 is the row of inputs, i the result of the i-th step, counting from 1.
type Ref int

// Input is the Ref of the row of inputs.
const Input Ref = 0

// Model is a program with what people want to know about it. Frontends fill it and call Validate.
type Model struct {
	Source Source
	// Inputs are what a row holds, in order.
	Inputs []Variable
	Steps  []Step
	// Raw is the score before the link, bit for bit that of the library; Output the score after it.
	// Each has one value for every class or target, or one value for a model of two classes (the raw
	// score and the probability of Classes[1]), or one value when there are no classes.
	Raw, Output Ref
	// Classes are the labels of a classifier in the order of the outputs. They are empty for a model of
	// one number, and name the targets of a model of several numbers that is no classifier.
	Classes []string
	// Probability tells that every value of Output lies between 0 and 1.
	Probability bool
	// Warnings are for the person who compiles; none makes the model wrong.
	Warnings []string
}

// Source tells where a model came from.
type Source struct {
	Format    string // such as "lightgbm-text"
	Library   string // such as "lightgbm 4.6.0", as far as the file tells
	Objective string // as the file calls it
}

// Variable is one number of the row of inputs.
type Variable struct {
	Name string
	// Categories are the texts that the codes 0, 1, … stand for; empty for a number. A missing value
	// and a text that is not among them are NaN.
	Categories []string
	// Hashes, when the file knows the texts only by their hashes, are those of the codes 0, 1, …; such a
	// variable needs its texts from whoever compiles (catboost.Name) before rows can be made for it.
	Hashes []int32
}

// Step computes a vector from earlier ones. The steps are the exported struct types of this package.
type Step interface {
	// From appends the vectors that the step reads.
	From(into []Ref) []Ref
	// length checks the step and tells how many numbers it leaves; of tells that for what it reads.
	length(of func(Ref) int) (int, error)
	// run computes the step.
	run(out []float64, of func(Ref) []float64)
}

// Gather picks columns, possibly several times.
type Gather struct {
	In      Ref
	Columns []int
}

// Concat puts vectors one after the other.
type Concat struct{ Parts []Ref }

// Const is a vector that does not depend on the row.
type Const struct{ Values []float64 }

// Cast rounds each number: to 32 bits, or toward zero to a whole number.
type Cast struct {
	In Ref
	To CastKind
}

// CastKind is what a Cast rounds to.
type CastKind uint8

// The kinds of casts.
const (
	ToF32     CastKind = iota
	ToInteger          // toward zero; NaN stays NaN
	ToBoolean          // 0 for 0, else 1, NaN too
	ToFloor
	ToRounded // half to even
)

// Impute replaces missing values: value i is replaced by Values[i] (or Values[0] when there is one).
// Missing is what counts as missing besides NaN; NaN for nothing else. KeepNaN tells that NaN itself
// does not count as missing (scikit-learn with missing_values=-1).
type Impute struct {
	In      Ref
	Values  []float64
	Missing float64
	KeepNaN bool
}

// Affine is (x - Offset) × Scale, each of length 1 or that of In.
type Affine struct {
	In            Ref
	Offset, Scale []float64
	Width         Width
}

// OneHot leaves for each column of In and each of its Categories 1 where they are equal, else 0. All
// are 0 for a value that is not listed, and for NaN.
type OneHot struct {
	In         Ref
	Categories [][]float64
}

// Lookup maps a number to another, the same way for all columns: Keys[i] to Values[i], others to
// Default, NaN to Missing. Keys are ascending.
type Lookup struct {
	In               Ref
	Keys, Values     []float64
	Default, Missing float64
}

// Bucket replaces each number by the index of its interval: how many of the ascending Bounds of its
// column are less than it, or with Closed less than or equal to it. NaN stays NaN.
type Bucket struct {
	In     Ref
	Bounds [][]float64
	Closed bool
}

// Linear is for each row i of Weights the sum of Bias[i] and Weights[i][j] × x[j], added one after the
// other in the order of j, with the bias first or, with BiasLast, last. Bias may be empty. With
// SkipMissing products of missing values are left out.
type Linear struct {
	In          Ref
	Weights     [][]float64
	Bias        []float64
	BiasLast    bool
	SkipMissing bool
	Width       Width
}

// ArithOp is an operation of two numbers.
type ArithOp uint8

// The operations. Less and what follows leave 1 or 0; comparisons with NaN are 0, but NotEqual is 1.
const (
	Add ArithOp = iota
	Sub
	Mul
	Div
	Min // NaN if either is NaN
	Max
	Less
	LessEqual
	Equal
	NotEqual
)

// Arith combines two vectors of equal length, or one of them of length 1, number by number.
type Arith struct {
	Op    ArithOp
	A, B  Ref
	Width Width
}

// Where is A where Cond is neither 0 nor NaN, else B; each of equal length or of length 1.
type Where struct{ Cond, A, B Ref }

// Function is a function of one number, or for Softmax and Softmax32 of a vector.
type Function uint8

// The functions. In width F32 they are computed in 64 bits and rounded once, but for Sigmoid, whose
// sum and quotient are rounded too, and for Softmax.
const (
	Identity    Function = iota
	Relu                 // max(x, 0)
	Tanh                 //
	Sigmoid              // 1 / (1 + exp(-Param × x)); Param 0 means 1
	SigmoidXG            // XGBoost's in 32 bits: 1 / (exp(min(-x, 88.7)) + 1 + 1e-16)
	Exp                  //
	Log                  // natural; NaN below 0
	Log1pExp             // log(1 + exp(x))
	Sqrt                 //
	Abs                  //
	Neg                  //
	Square               // sign(x) × x × x
	IsMissing            // 1 for NaN, else 0
	Softmax              // exp(x - max) / sum, exps summed in their order in 64 bits (F64), in 32 bits (F32)
	SoftmaxXG            // in 32 bits with the sum in 64 bits, rounded to 32 before dividing
	SoftmaxZero          // ONNX SOFTMAX_ZERO: as Softmax, but 0 stays 0
	Probit               // ONNX PROBIT: sqrt(2) × inverse error function of 2x-1
	CLogLog              // 1 - exp(-exp(x))
)

// Activation applies a function.
type Activation struct {
	In    Ref
	Func  Function
	Param float64
	Width Width
}

// Norm is a norm of a vector.
type Norm uint8

// The norms: sum of magnitudes, root of the sum of squares, greatest magnitude; NormSum is the plain
// sum.
const (
	NormL1 Norm = iota
	NormL2
	NormMax
	NormSum
)

// Normalize divides by the norm, unless that is 0.
type Normalize struct {
	In    Ref
	Norm  Norm
	Width Width
}

// Reduction makes one number of a vector.
type Reduction uint8

// The reductions. ReduceArgMax is the index of the first greatest number.
const (
	ReduceSum Reduction = iota
	ReduceMean
	ReduceMin
	ReduceMax
	ReduceArgMax
)

// Reduce makes one number of a vector, adding in order.
type Reduce struct {
	In    Ref
	By    Reduction
	Width Width
}

// From implements Step.
func (s *Gather) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Concat) From(r []Ref) []Ref { return append(r, s.Parts...) }

// From implements Step.
func (s *Const) From(r []Ref) []Ref { return r }

// From implements Step.
func (s *Cast) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Impute) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Affine) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *OneHot) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Lookup) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Bucket) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Linear) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Arith) From(r []Ref) []Ref { return append(r, s.A, s.B) }

// From implements Step.
func (s *Where) From(r []Ref) []Ref { return append(r, s.Cond, s.A, s.B) }

// From implements Step.
func (s *Activation) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Normalize) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Reduce) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Trees) From(r []Ref) []Ref { return append(r, s.In) }

// From implements Step.
func (s *Oblivious) From(r []Ref) []Ref { return append(r, s.In) }

// Append adds a step and returns its result.
func (m *Model) Append(s Step) Ref {
	m.Steps = append(m.Steps, s)
	return Ref(len(m.Steps))
}
