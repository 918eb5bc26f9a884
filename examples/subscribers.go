package examples

import (
	"bufio"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"time"
)

// subscriberColumns are the columns that WriteSubscribers writes: the id, attributes, and consents.
// They are canonical, so that the file can be imported with SubscriberMapping, which also declares
// the attributes, or without once they are declared.
var subscriberColumns = [...]string{
	"id", "gender", "age", "seniorCitizen", "partner", "dependents", "householdSize", "preferredLanguage", "segment",
	"tenure", "contract", "commitmentEnd", "phoneService", "multipleLines", "internetService",
	"onlineSecurity", "onlineBackup", "deviceProtection", "techSupport", "streamingTV", "streamingMovies",
	"paperlessBilling", "paymentMethod", "monthlyCharges", "totalCharges", "latePayments12",
	"dataAllowanceGB", "dataUsedGB", "roamingDays30", "deviceAgeMonths", "appUser", "openTickets", "outageMinutes30", "nps",
	"consent:marketing", "consent:profiling",
}

// DefaultSeed is the seed of the demo operator.
const DefaultSeed uint64 = 42

// referenceDay is the day as of which WriteSubscribers generates: commitments end before and after it.
var referenceDay = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// WriteSubscribers writes n generated subscribers, S-000001 and on, as CSV with a header, as of
// 1 November 2026. The same seed gives the same bytes on every platform, and subscriber i is the
// same whatever n is.
func WriteSubscribers(w io.Writer, seed uint64, n int) error {
	return WriteSubscribersAsOf(w, seed, n, referenceDay)
}

// WriteSubscribersAsOf is WriteSubscribers as of another day: only commitmentEnd depends on it.
func WriteSubscribersAsOf(w io.Writer, seed uint64, n int, day time.Time) error {
	out := bufio.NewWriterSize(w, 64<<10)
	line := make([]byte, 0, 512)
	for i, column := range subscriberColumns {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, column...)
	}
	line = append(line, '\n')
	for i := 1; ; i++ {
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("writing subscribers: %w", err)
		}
		if i > n {
			break
		}
		s := newSubscriber(seed, i)
		line = s.appendCSV(line[:0], i, day)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing subscribers: %w", err)
	}
	return nil
}

// chance draws from tables. All its arithmetic is on integers: floating point may differ between
// processors, and math/rand promises the generator, not what is made of it.
type chance struct{ pcg *rand.PCG }

// below is uniform in 0..n-1.
func (c chance) below(n int) int {
	high, _ := bits.Mul64(c.pcg.Uint64(), uint64(n))
	return int(high)
}

// between is uniform in from..to.
func (c chance) between(from, to int) int { return from + c.below(to-from+1) }

// hit is true in share of a thousand.
func (c chance) hit(share int) bool { return c.below(1000) < share }

// pick is a position in shares, whose sum is about a thousand.
func (c chance) pick(shares []int) int {
	sum := 0
	for _, s := range shares {
		sum += s
	}
	at := c.below(sum)
	for i, s := range shares {
		if at -= s; at < 0 {
			return i
		}
	}
	return len(shares) - 1
}

// bell is around 0 and within -4×sd..4×sd: twelve uniform draws, nearly normal.
func (c chance) bell(sd int) int {
	sum := 0
	for range 4 {
		v := c.pcg.Uint64()
		sum += int(v&0xFFFF) + int(v>>16&0xFFFF) + int(v>>32&0xFFFF)
	}
	return (sum - 6*0xFFFF) * sd / 0xFFFF
}

// subscriber is one drawn subscriber. Money is in cents, data in hundredths of a GB.
type subscriber struct {
	female, senior, partner, dependents          bool
	phone, multipleLines, paperless, appUser     bool
	age, household, language, tenure             int
	contract, internet, payment                  int
	addOns                                       [addOnCount]bool
	monthly, total                               int
	commitmentDays                               int // from the day as of which; 0: no commitment
	latePayments, allowanceGB, dataUsed, roaming int
	deviceAge, openTickets, outageMinutes, nps   int // nps -1: never asked
	segment                                      string
	marketing, profiling                         int // 0 granted, 1 refused, 2 not asked
}

// newSubscriber draws subscriber i. Later draws depend on earlier ones in the order of the tables.
func newSubscriber(seed uint64, i int) *subscriber {
	c := chance{rand.NewPCG(seed, mix(uint64(i)^shuffle))}
	s := &subscriber{}
	s.female = c.hit(495)
	s.senior = c.hit(162)
	s.contract = c.pick(contractShare[index(s.senior)])
	bucket := tenureBuckets[c.pick(tenureShare[s.contract])]
	s.tenure = c.between(bucket.from, bucket.to)
	s.drawHousehold(c)
	s.drawServices(c)
	s.drawBilling(c)
	s.drawUsage(c)
	s.drawCare(c)
	s.segment = s.segmentName()
	s.marketing = c.pick(marketingShare)
	s.profiling = c.pick(profilingShare[index(s.marketing == 0)])
	return s
}

// shuffle deals the draws to other ids. It is chosen so that S-000123 of the default seed, whom the
// README decides for, has something to show at every stage of the demo catalog.
const shuffle = 4580 ^ 123

// mix spreads the bits of i (SplitMix64), so that neighbours draw unlike numbers.
func mix(i uint64) uint64 {
	i += 0x9E3779B97F4A7C15
	i = (i ^ i>>30) * 0xBF58476D1CE4E5B9
	i = (i ^ i>>27) * 0x94D049BB133111EB
	return i ^ i>>31
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *subscriber) drawHousehold(c chance) {
	if s.senior {
		s.age = c.between(65, 84)
	} else {
		bucket := ageBuckets[c.pick(ageShare)]
		s.age = c.between(bucket.from, bucket.to)
	}
	s.partner = c.hit(partnerShare[tenureBand(s.tenure)])
	s.dependents = c.hit(dependentsShare[index(s.partner)][index(s.senior)])
	s.household = 1 + index(s.partner)
	if s.dependents {
		s.household += 1 + c.pick([]int{500, 350, 120, 30})
	}
	s.language = c.pick(languageShare)
}

func (s *subscriber) drawServices(c chance) {
	band := tenureBand(s.tenure)
	shares := append([]int(nil), internetShare[s.contract][band]...)
	switch { // who lives in the house moves the choice; the averages stay near the table
	case s.senior:
		shares[fiber] = shares[fiber] * 16 / 10
		shares[noInternet] /= 5
	case s.dependents:
		shares[fiber] = shares[fiber] * 7 / 10
		shares[noInternet] = shares[noInternet] * 13 / 10
	}
	s.internet = c.pick(shares)
	s.phone = s.internet != dsl || c.hit(718)
	s.multipleLines = s.phone && c.hit(multipleLinesShare[s.internet][band])
	if s.internet == noInternet {
		return
	}
	for i := range addOns {
		s.addOns[i] = c.hit(addOns[i].share[s.internet][s.contract][band])
	}
}

func (s *subscriber) drawBilling(c chance) {
	s.payment = c.pick(paymentShare[s.internet][s.contract])
	s.paperless = c.hit(paperlessShare[s.internet])
	s.monthly = phoneCents*index(s.phone) + multipleLinesCents*index(s.multipleLines)
	switch s.internet {
	case dsl:
		s.monthly += dslCents
	case fiber:
		s.monthly += fiberCents
	}
	for i, has := range s.addOns {
		s.monthly += addOns[i].cents * index(has)
	}
	s.monthly += (c.bell(100) + 2) / 5 * 5 // list prices end in 5 cents
	if s.tenure > 0 {
		s.total = s.tenure * s.monthly
		if s.tenure > 1 {
			s.total += s.total * c.bell(45) / 1000 // prices and services changed on the way
		}
	}
	late := 40
	if s.payment >= electronicCheck {
		late = 110
	}
	for range min(s.tenure, 12) {
		s.latePayments += index(c.hit(late))
	}
	if s.contract != monthToMonth {
		// The term began some whole terms after the start: what is left is spread over the term.
		s.commitmentDays = c.between(1, 365*s.contract)
	}
}

func (s *subscriber) drawUsage(c chance) {
	s.allowanceGB = allowancesGB[c.pick(allowanceShare[s.contract])]
	// Most use half of what they pay for; one in twelve lives at the edge.
	used := 52 + c.bell(22)
	if c.hit(85) {
		used = c.between(88, 104)
	}
	s.dataUsed = max(used, 1) * s.allowanceGB
	if c.hit(110) {
		s.roaming = 1 + c.pick([]int{180, 160, 140, 120, 100, 80, 70, 40, 30, 20, 15, 15, 15, 15})
	}
	s.deviceAge = min(c.between(0, 30)+c.between(0, 24), s.tenure+24)
	s.appUser = c.hit(780 - 6*max(s.age-30, 0))
}

func (s *subscriber) drawCare(c chance) {
	trouble := 45
	if s.internet == fiber {
		trouble = 95
	}
	s.openTickets = index(c.hit(trouble)) + index(c.hit(trouble/4))
	if s.internet != noInternet && c.hit(60+90*index(s.openTickets > 0)) {
		s.outageMinutes = c.between(5, 60) * c.between(1, 9)
	}
	s.nps = -1
	if c.hit(420) {
		s.nps = c.pick(npsShare[index(s.openTickets > 0)])
	}
}

// segmentName is what a marketer would call the subscriber.
func (s *subscriber) segmentName() string {
	switch {
	case s.senior:
		return "Senior"
	case s.age < 26:
		return "Youth"
	case s.household >= 3:
		return "Family"
	case s.monthly >= 9000:
		return "Premium"
	default:
		return "Standard"
	}
}

// appendCSV appends the subscriber as a line, in the order of subscriberColumns. No value holds a
// comma, a quote or a newline.
func (s *subscriber) appendCSV(b []byte, i int, day time.Time) []byte {
	b = fmt.Appendf(b, "S-%06d", i)
	text := func(v string) { b = append(append(b, ','), v...) }
	number := func(v int) { b = strconv.AppendInt(append(b, ','), int64(v), 10) }
	flag := func(v bool) { text([2]string{"No", "Yes"}[index(v)]) }
	cents := func(v int) {
		b = strconv.AppendInt(append(b, ','), int64(v/100), 10)
		b = append(b, '.', byte('0'+v%100/10), byte('0'+v%10))
	}
	text([2]string{"Male", "Female"}[index(s.female)])
	number(s.age)
	flag(s.senior)
	flag(s.partner)
	flag(s.dependents)
	number(s.household)
	text(languageNames[s.language])
	text(s.segment)
	number(s.tenure)
	text(contractNames[s.contract])
	text("")
	if s.commitmentDays > 0 {
		b = day.UTC().AddDate(0, 0, s.commitmentDays).AppendFormat(b, time.DateOnly)
	}
	flag(s.phone)
	text(orNone(s.phone, s.multipleLines, "No phone service"))
	text(internetNames[s.internet])
	for _, has := range s.addOns {
		text(orNone(s.internet != noInternet, has, "No internet service"))
	}
	flag(s.paperless)
	text(paymentNames[s.payment])
	cents(s.monthly)
	if s.tenure > 0 {
		cents(s.total)
	} else {
		text("") // as in the real file: who has just come has no total yet
	}
	number(s.latePayments)
	number(s.allowanceGB)
	cents(s.dataUsed)
	number(s.roaming)
	number(s.deviceAge)
	flag(s.appUser)
	number(s.openTickets)
	number(s.outageMinutes)
	text("")
	if s.nps >= 0 {
		b = strconv.AppendInt(b, int64(s.nps), 10)
	}
	text(consentWords[s.marketing])
	text(consentWords[s.profiling])
	return append(b, '\n')
}

var consentWords = [...]string{"Yes", "No", ""}

func orNone(possible, has bool, none string) string {
	switch {
	case !possible:
		return none
	case has:
		return "Yes"
	default:
		return "No"
	}
}
