package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"tune/internal/atomicfile"
	"tune/kernels"
)

// health is what `tune doctor --json` prints; sizes in bytes, 0 where the system does not tell.
type health struct {
	buildInfo
	Threads   int      `json:"threads"`
	Features  []string `json:"cpu_features"`
	Kernels   string   `json:"kernels"`
	Why       string   `json:"kernels_reason"`
	Memory    uint64   `json:"memory_bytes"`
	Available uint64   `json:"memory_available_bytes"`
	CacheDir  string   `json:"cache_dir"`
	DiskFree  uint64   `json:"cache_disk_free_bytes"`
	Others    []string `json:"other_tune_on_path,omitempty"`
}

func doctorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "show what this machine offers and which kernels run on it",
		UsageText: "tune doctor [--json]",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			h := examine()
			if c.Bool("json") {
				return writeJSON(e.stdout, h)
			}
			w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "version\t%s %s %s\n", h.Version, h.Go, h.Platform)
			fmt.Fprintf(w, "threads\t%d\n", h.Threads)
			fmt.Fprintf(w, "cpu features\t%s\n", strings.Join(h.Features, " "))
			fmt.Fprintf(w, "kernels\t%s (%s)\n", h.Kernels, h.Why)
			fmt.Fprintf(w, "memory\t%s, %s available\n", bytesText(int64(h.Memory)), bytesText(int64(h.Available)))
			fmt.Fprintf(w, "cache\t%s, %s free\n", h.CacheDir, bytesText(int64(h.DiskFree)))
			for _, o := range h.Others {
				fmt.Fprintf(w, "note\tanother tune on the PATH: %s\n", o)
			}
			return w.Flush()
		},
	}
}

func examine() health {
	h := health{buildInfo: readBuildInfo(), Threads: runtime.GOMAXPROCS(0), Features: kernels.Features(),
		Kernels: kernels.Level(), Why: kernels.Reason(), Others: otherTunes()}
	h.Memory, h.Available = memory()
	h.CacheDir = cacheDir()
	dir := h.CacheDir
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if free, ok := atomicfile.Free(dir); ok {
		h.DiskFree = uint64(free)
	}
	return h
}

// cacheDir is where built-in data is written once: $TUNE_CACHE, or tune in the user's cache folder.
func cacheDir() string {
	if d := os.Getenv("TUNE_CACHE"); d != "" {
		return d
	}
	d, err := os.UserCacheDir()
	if err != nil {
		d = os.TempDir()
	}
	return filepath.Join(d, "tune")
}

// otherTunes lists programs named tune on the PATH that are not this one.
func otherTunes() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	me, err := os.Stat(self)
	if err != nil {
		return nil
	}
	var others []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		for _, name := range []string{"tune", "tune.exe"} {
			p := filepath.Join(dir, name)
			if f, err := os.Stat(p); err == nil && f.Mode().IsRegular() && f.Mode()&0o111 != 0 && !os.SameFile(f, me) {
				others = append(others, p)
			}
		}
	}
	return others
}

// bytesText scales a size for people: 1.5 GiB.
func bytesText(n int64) string {
	x, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.4g %s", x, units[i])
}
