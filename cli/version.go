package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// Version is the release; a build from a checkout adds its commit.
const Version = "0.1.0"

// buildInfo is what `tune version --json` prints.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	return b
}

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print version, commit and platform",
		UsageText:   "tune version [--json]",
		Description: "This is not the `tune` of the retired torchtune project, which installed a command of the same name.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			b := readBuildInfo()
			if c.Bool("json") {
				return writeJSON(e.stdout, b)
			}
			fmt.Fprintf(e.stdout, "tune %s", b.Version)
			if b.Commit != "" {
				fmt.Fprintf(e.stdout, " (%.12s)", b.Commit)
			}
			fmt.Fprintf(e.stdout, " %s %s\n", b.Go, b.Platform)
			return nil
		},
	}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print one JSON value"} }

// writeJSON prints a value as indented JSON without HTML escapes.
func writeJSON(w interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
