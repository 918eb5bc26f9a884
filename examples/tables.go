package examples

// The shares in this file are in thousandths. They follow the public IBM telco churn sample as far
// as its columns go (TestMarginals compares), and are plausible inventions beyond it. Shares that
// are conditional carry their conditions in the indices, in this order: contract, internet,
// tenureBand.

// contract, internet, payment index the tables and name the levels.
const (
	monthToMonth = iota
	oneYear
	twoYear
)

const (
	dsl = iota
	fiber
	noInternet
)

const (
	bankTransfer = iota
	creditCard
	electronicCheck
	mailedCheck
)

var (
	contractNames = [...]string{"Month-to-month", "One year", "Two year"}
	internetNames = [...]string{"DSL", "Fiber optic", "No"}
	paymentNames  = [...]string{"Bank transfer (automatic)", "Credit card (automatic)", "Electronic check", "Mailed check"}
	languageNames = [...]string{"en", "es", "fr", "de", "it"}
)

// contractShare by seniorCitizen.
var contractShare = [2][]int{{520, 217, 263}, {707, 166, 127}}

// tenureBucket is a range of months, both ends included.
type tenureBucket struct{ from, to int }

var tenureBuckets = [...]tenureBucket{
	{0, 0}, {1, 1}, {2, 3}, {4, 6}, {7, 12}, {13, 24}, {25, 36}, {37, 48}, {49, 60}, {61, 68}, {69, 71}, {72, 72},
}

// tenureShare by contract, over tenureBuckets.
var tenureShare = [3][]int{
	monthToMonth: {0, 156, 109, 100, 150, 190, 125, 82, 60, 23, 4, 1},
	oneYear:      {1, 5, 9, 12, 58, 134, 170, 182, 218, 147, 53, 11},
	twoYear:      {6, 1, 2, 8, 23, 53, 57, 105, 163, 208, 172, 202},
}

// tenureBand cuts tenure as the tables below do: up to 12, up to 36, more.
func tenureBand(months int) int {
	switch {
	case months <= 12:
		return 0
	case months <= 36:
		return 1
	default:
		return 2
	}
}

// internetShare by contract, tenureBand, over internet.
var internetShare = [3][3][]int{
	monthToMonth: {{346, 459, 195}, {302, 600, 98}, {249, 727, 24}},
	oneYear:      {{339, 56, 605}, {443, 190, 367}, {366, 496, 138}},
	twoYear:      {{265, 5, 730}, {269, 59, 672}, {389, 290, 321}},
}

// paymentShare by internet, contract, over payment.
var paymentShare = [3][3][]int{
	dsl:        {{161, 151, 388, 300}, {254, 302, 204, 240}, {357, 377, 92, 174}},
	fiber:      {{154, 138, 614, 94}, {291, 278, 364, 67}, {378, 359, 214, 49}},
	noInternet: {{124, 124, 132, 620}, {245, 209, 96, 450}, {279, 298, 28, 395}},
}

// paperless by internet.
var paperlessShare = [3]int{dsl: 549, fiber: 774, noInternet: 292}

// multipleLines by internet, tenureBand, of those with a phone service.
var multipleLinesShare = [3][3]int{dsl: {150, 380, 580}, fiber: {410, 590, 800}, noInternet: {80, 170, 380}}

// addOn is one optional service: its monthly price in cents and its share by internet (dsl, fiber),
// contract, tenureBand.
type addOn struct {
	cents int
	share [2][3][3]int
}

const (
	onlineSecurity = iota
	onlineBackup
	deviceProtection
	techSupport
	streamingTV
	streamingMovies
	addOnCount
)

var addOns = [addOnCount]addOn{
	onlineSecurity: {500, [2][3][3]int{
		{{220, 370, 470}, {430, 560, 610}, {830, 720, 770}}, {{90, 180, 290}, {290, 350, 430}, {400, 450, 620}}}},
	onlineBackup: {500, [2][3][3]int{
		{{210, 360, 550}, {290, 400, 570}, {610, 540, 710}}, {{180, 340, 570}, {290, 420, 680}, {500, 550, 720}}}},
	deviceProtection: {500, [2][3][3]int{
		{{160, 310, 340}, {400, 480, 590}, {610, 640, 780}}, {{210, 340, 500}, {600, 530, 650}, {700, 820, 790}}}},
	techSupport: {500, [2][3][3]int{
		{{230, 360, 280}, {550, 550, 590}, {890, 780, 820}}, {{90, 190, 230}, {140, 420, 420}, {700, 850, 710}}}},
	streamingTV: {1000, [2][3][3]int{
		{{190, 280, 380}, {360, 470, 450}, {330, 480, 670}}, {{360, 510, 610}, {650, 580, 760}, {750, 820, 820}}}},
	streamingMovies: {1000, [2][3][3]int{
		{{200, 290, 380}, {370, 460, 460}, {350, 500, 690}}, {{350, 520, 620}, {650, 600, 760}, {750, 800, 820}}}},
}

// Monthly prices in cents.
const (
	phoneCents         = 2000
	multipleLinesCents = 500
	dslCents           = 2500
	fiberCents         = 5000
)

// partnerShare by tenureBand; dependentsShare by partner, seniorCitizen.
var (
	partnerShare    = [3]int{250, 465, 675}
	dependentsShare = [2][2]int{{113, 22}, {590, 120}}
)

// ageShare over ageBuckets, for those who are no senior citizens.
var (
	ageBuckets = [...]tenureBucket{{18, 24}, {25, 34}, {35, 44}, {45, 54}, {55, 64}}
	ageShare   = []int{130, 250, 240, 210, 170}
)

// languageShare over languageNames.
var languageShare = []int{620, 170, 90, 70, 50}

// allowanceShare over allowancesGB, the mobile data plans, by contract.
var (
	allowancesGB   = [...]int{2, 5, 10, 20, 50, 100}
	allowanceShare = [3][]int{{220, 300, 230, 150, 70, 30}, {120, 230, 270, 220, 110, 50}, {80, 170, 270, 260, 150, 70}}
)

// npsShare over 0..10, by whether tickets are open.
var npsShare = [2][]int{
	{20, 12, 18, 22, 30, 75, 85, 140, 228, 190, 180},
	{130, 70, 80, 90, 100, 160, 110, 100, 80, 50, 30},
}

// consentShare over granted, refused, not asked.
var (
	marketingShare = []int{700, 250, 50}
	// profilingShare by whether marketing was granted: 0.7×0.75+0.3×0.25 = 600 thousandths.
	profilingShare = [2][]int{{250, 650, 100}, {750, 200, 50}}
)
