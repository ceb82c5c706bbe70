package quantize

import "time"

// Phases of solving are seconds of wall time.
type Phases struct {
	Scales     float64 `json:"scales_s,omitempty"`      // the search of AWQ
	Propagate  float64 `json:"propagation_s,omitempty"` // running layers that are quantized, and the next ones for their statistics
	Statistics float64 `json:"statistics_s"`
	Factor     float64 `json:"factors_s"`
	Round      float64 `json:"rounding_s"`
}

// CalibrationPhases are seconds of wall time of a calibration.
type CalibrationPhases struct {
	Forward    float64 `json:"forward_s"`
	Products   float64 `json:"products_s"`
	Magnitudes float64 `json:"magnitudes_s"`
	States     float64 `json:"hidden_states_s"` // copied, or to disk and back
	File       float64 `json:"file_s"`          // the model's hash, and writing what was measured
}

// Total of all phases.
func (p CalibrationPhases) Total() float64 {
	return p.Forward + p.Products + p.Magnitudes + p.States + p.File
}

// stopwatch tells what a phase took.
type stopwatch struct{ last time.Time }

func (s *stopwatch) start() { s.last = time.Now() }

// lap adds the seconds since start, or since the last lap, to a phase.
func (s *stopwatch) lap(to *float64) {
	now := time.Now()
	*to += now.Sub(s.last).Seconds()
	s.last = now
}

// CalibrationProgress is how far a calibration has come. A layer that runs several times, for parts of its statistics, is done after the
// last one.
type CalibrationProgress struct {
	Layer, Layers int
	Done, Total   int64 // tokens through layers
}
