package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// wireRule is a Rule as JSON has it.
type wireRule struct {
	Name        string            `json:"name"`
	Op          string            `json:"op"`
	Key         string            `json:"key"`
	Skip        int               `json:"skip"`
	Count       int               `json:"count"`
	Probability float64           `json:"probability"`
	OneIn       int               `json:"one_in"`
	Latency     string            `json:"latency"`
	Status      int               `json:"status"`
	Code        string            `json:"code"`
	RetryAfter  string            `json:"retry_after"`
	Request     map[string]string `json:"request"`
	Response    map[string]string `json:"response"`
	End         End               `json:"end"`
	After       int64             `json:"after"`
	Bandwidth   int64             `json:"bandwidth"`
}

// ParseRules reads a JSON array of rules. The members are the fields of Rule
// and Fault in lower case with underscores (one_in, retry_after); latency is a
// string as time.ParseDuration reads it.
func ParseRules(data []byte) ([]Rule, error) {
	var wire []wireRule
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wire); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	rules := make([]Rule, 0, len(wire))
	for i, w := range wire {
		r, err := w.rule()
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (w wireRule) rule() (Rule, error) {
	var latency time.Duration
	if w.Latency != "" {
		var err error
		if latency, err = time.ParseDuration(w.Latency); err != nil {
			return Rule{}, err
		}
	}
	if !slices.Contains([]End{Whole, Reset, Stall, Truncate, Shorten}, w.End) {
		return Rule{}, fmt.Errorf("unknown end %q", w.End)
	}
	if min(int64(w.Skip), int64(w.Count), int64(w.OneIn), int64(w.Status), w.After, w.Bandwidth, int64(latency)) < 0 {
		return Rule{}, fmt.Errorf("negative number")
	}
	return Rule{
		Name: w.Name, Op: w.Op, Key: w.Key, Skip: w.Skip, Count: w.Count, Probability: w.Probability, OneIn: w.OneIn,
		Fault: Fault{
			Latency: latency, Status: w.Status, Code: w.Code, RetryAfter: w.RetryAfter,
			Request: w.Request, Response: w.Response, End: w.End, After: w.After, Bandwidth: w.Bandwidth,
		},
	}, nil
}
