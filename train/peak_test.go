package train

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"tune/data"
	"tune/internal/testkit"
)

const peakEnv = "TUNE_TEST_PEAK"

// The planned memory against what a process of its own then takes. The batch is large, so that most of it is activations.
func TestPlanMatchesPeak(t *testing.T) {
	const limit = 0.05 // what `tune plan` promises
	if os.Getenv(peakEnv) != "" {
		j := smallJob(t, "")
		stream := j.Train.(*packs)
		var rows []*data.Pack
		for len(rows) < 1536 {
			rows = append(rows, stream.all...)
		}
		stream.all = rows
		j.Held, j.Config.Steps, j.Config.Batch, j.Config.MicroTokens = nil, 2, len(rows), 24576
		plan, err := j.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nplanned %d peak %d activations %d\n", plan.Total, PeakMemory(), plan.Activations)
		return
	}
	if testkit.RaceDetector || runtime.GOOS != "linux" {
		t.Skip("the race detector takes memory of its own, and only Linux tells the peak")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPlanMatchesPeak$")
	cmd.Env = append(os.Environ(), peakEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var planned, peak, activations float64
	for line := range strings.Lines(string(out)) {
		fmt.Sscanf(line, "planned %f peak %f activations %f", &planned, &peak, &activations)
	}
	t.Logf("planned %.0f MiB, of which activations %.0f; peak %.0f MiB", planned/(1<<20), activations/(1<<20), peak/(1<<20))
	if !(peak <= planned*(1+limit) && peak >= planned*(1-limit)) || activations < planned/2 {
		t.Errorf("planned %.0f bytes, peak %.0f", planned, peak)
	}
}
