package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

//go:embed campaign.html
var campaignPage string

// Bar is one value of a chart of campaigns.
type Bar struct {
	Name, Text string
	Value      float64
	Width      float64
	Y          int
}

// BarChart is a bar chart with one bar a line.
type BarChart struct {
	Title  string
	Lines  []Bar
	Height int
}

// Interval is the chart of a lift: the places of zero, the estimate and its bounds on a line of barWidth.
type Interval struct{ Zero, Low, High, At float64 }

type campaignReport struct {
	Report  *nba.CampaignReport
	Began   string
	Charts  []BarChart
	Rates   []Bar
	Lift    *Interval
	Text    string
	Options options
}

// WriteCampaign writes the report of a run as a page. It is the same for the same report.
func WriteCampaign(w io.Writer, r *nba.CampaignReport) error {
	t, err := template.New("campaign").Parse(campaignPage)
	if err != nil {
		return fmt.Errorf("reading the page of a campaign: %w", err)
	}
	p := campaignReport{Report: r, Began: r.Run.StartedAt.UTC().Format(time.RFC3339), Options: options{Bar: barWidth, Label: 300}}
	p.Charts = []BarChart{bars("Funnel", funnel(r)), bars("Suppressed, by reason", suppressed(r)), bars("Contacts, by action", contacts(r)), bars("Responses", responses(r))}
	p.Rates = bars("", []Bar{
		{Name: "Contacted", Value: 100 * r.ContactedGroup.Rate, Text: fmt.Sprintf("%.2f %% of %d", 100*r.ContactedGroup.Rate, r.ContactedGroup.Subjects)},
		{Name: "Held out", Value: 100 * r.HeldOutGroup.Rate, Text: fmt.Sprintf("%.2f %% of %d", 100*r.HeldOutGroup.Rate, r.HeldOutGroup.Subjects)},
	}).Lines
	if l := r.Lift; l != nil {
		p.Text = fmt.Sprintf("%+.2f percentage points, 95 %% interval from %+.2f to %+.2f", 100*l.Difference, 100*l.Low, 100*l.High)
		low, high := min(0, l.Low), max(0, l.High)
		place := func(x float64) float64 { return math.Round((x - low) / max(high-low, 1e-9) * barWidth) }
		p.Lift = &Interval{Zero: place(0), Low: place(l.Low), High: place(l.High), At: place(l.Difference)}
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("writing the page of a campaign: %w", err)
	}
	return nil
}

func count(name string, n uint64) Bar { return Bar{Name: name, Value: float64(n), Text: fmt.Sprint(n)} }

func funnel(r *nba.CampaignReport) []Bar {
	a := &r.Run.CampaignAccount
	return []Bar{count("Customers looked at", a.Examined), count("Audience", a.Audience), count("Held out", a.HeldOut),
		count("Contacted", a.Contacted), count("Accepted or converted", r.ContactedGroup.Responded)}
}

func suppressed(r *nba.CampaignReport) (lines []Bar) {
	for _, s := range r.Run.Suppressed {
		lines = append(lines, count(s.Stage+" "+s.Code, s.Count))
	}
	return lines
}

func contacts(r *nba.CampaignReport) (lines []Bar) {
	for _, a := range r.Run.Actions {
		lines = append(lines, count(a.Action+" by "+a.Channel, a.Count))
	}
	return lines
}

func responses(r *nba.CampaignReport) (lines []Bar) {
	for _, o := range r.Responses {
		lines = append(lines, count(string(o.Outcome), o.Count))
	}
	return lines
}

// campaignLine is the height of a line.
const campaignLine = 24

func bars(title string, lines []Bar) BarChart {
	lines = lines[:min(len(lines), maxLines)]
	largest := 0.0
	for i := range lines {
		largest = max(largest, lines[i].Value)
	}
	for i := range lines {
		lines[i].Y = i * campaignLine
		if largest > 0 {
			lines[i].Width = math.Round(barWidth * lines[i].Value / largest)
		}
	}
	return BarChart{Title: title, Lines: lines, Height: max(1, len(lines)) * campaignLine}
}
