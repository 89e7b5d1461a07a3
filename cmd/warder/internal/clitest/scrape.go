package clitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// A Scrape holds the values of /metrics: the value of each series, and for a histogram the
// number of observations. The keys are name{label="value",…} with the labels sorted.
type Scrape struct {
	Text   string
	Series map[string]float64
	Help   map[string]string
}

// Scraped returns the scrape of metric families and of the text that they were parsed from.
func Scraped(text string, families []*dto.MetricFamily) Scrape {
	s := Scrape{text, map[string]float64{}, map[string]string{}}
	for _, f := range families {
		s.Help[f.GetName()] = f.GetHelp()
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			slices.Sort(labels)
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			s.Series[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return s
}

// Of returns the series of one name that are not zero, one per line, sorted.
func (s Scrape) Of(name string) string {
	var lines []string
	for series, value := range s.Series {
		if strings.HasPrefix(series, name+"{") && value != 0 {
			lines = append(lines, fmt.Sprintf("%s %v", strings.TrimPrefix(series, name), value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// ScrapeOf parses an answer of /metrics as Prometheus does.
func ScrapeOf(t testing.TB, text string) Scrape {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("/metrics cannot be read: %v", err)
	}
	return Scraped(text, slices.Collect(maps.Values(families)))
}
