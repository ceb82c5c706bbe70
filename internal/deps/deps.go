//go:build deps

package deps
import (
_ "github.com/urfave/cli/v2"
_ "github.com/apache/arrow-go/v18/arrow"
_ "github.com/apache/arrow-go/v18/arrow/array"
_ "github.com/apache/arrow-go/v18/arrow/ipc"
_ "github.com/parquet-go/parquet-go"
_ "gorgonia.org/gorgonia"
_ "gorgonia.org/tensor"
_ "go.yaml.in/yaml/v4"
_ "github.com/dlclark/regexp2/v2"
_ "golang.org/x/sys/cpu"
_ "golang.org/x/sys/unix"
_ "golang.org/x/text/unicode/norm"
_ "golang.org/x/term"
_ "github.com/invopop/jsonschema"
_ "github.com/google/licenseclassifier/v2/assets"
_ "github.com/rogpeppe/go-internal/testscript"
_ "github.com/edsrzf/mmap-go"
)
