package quantize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tune/internal/packed"
	"tune/kernels"
)

// A process of its own calibrates and writes folders on a small disk that becomes full on the way.
const (
	childDisk = "TUNE_QUANTIZE_CHILD_DISK" // the model's folder, on another disk
	childFull = "TUNE_QUANTIZE_CHILD_FULL" // where the small disk is mounted
)

// TestFullDisk: on a disk that becomes full there is one clear error and no output; a calibration leaves nothing, a folder its journal, and
// with room again a second run goes on and leaves the same bytes.
func TestFullDisk(t *testing.T) {
	mount := func(then string) *exec.Cmd { // in a namespace of mounts of its own, which ends with the process
		return exec.Command("unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=40m none "$1" && exec "$0"`, then, t.TempDir())
	}
	if out, err := mount("true").CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "deep")
	deepModel(t, dir, 3, 256, 512)
	cmd := mount(os.Args[0])
	cmd.Env = append(os.Environ(), childDisk+"="+dir, childFull+"="+cmd.Args[len(cmd.Args)-1])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// filled takes all room of a disk.
func filled(dir string) (free func()) {
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	for n := 1 << 20; err == nil && n > 0; n /= 2 {
		var e error
		for e == nil {
			_, e = f.Write(make([]byte, n))
		}
		if !errors.Is(e, syscall.ENOSPC) {
			err = e
		}
	}
	if err != nil {
		panic(err)
	}
	return func() {
		f.Close()
		os.Remove(path)
	}
}

// diskChild runs on the small disk.
func diskChild(dir string) error {
	c, m, err := openLazy(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	disk := os.Getenv(childFull)
	pool := kernels.NewPool(2)
	defer pool.Close()
	ids := someTokens(m, 4*32)
	ctx, calib := context.Background(), filepath.Join(disk, "x.calib")
	o := CalibrateOptions{Text: Text{ids, 32}, Pool: pool}
	var free func()
	o.Progress = func(p CalibrationProgress) {
		if p.Layer == 2 && free == nil {
			free = filled(disk)
		}
	}
	_, err = Calibrate(ctx, calib, m, c.Weights, o)
	if left, _ := filepath.Glob(calib + "*"); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), calib) || len(left) > 0 {
		return fmt.Errorf("calibration: %v, left %v", err, left)
	}
	free()
	o.Progress = nil
	free = filled(disk)
	if _, err = Calibrate(ctx, calib, m, c.Weights, o); err == nil || !strings.Contains(err.Error(), "bytes of free disk, found 0") {
		return fmt.Errorf("a calibration on a full disk: %v", err)
	}
	free()
	if _, err := Calibrate(ctx, calib, m, c.Weights, o); err != nil {
		return err
	}
	cal, err := OpenCalibration(calib)
	if err != nil {
		return err
	}
	defer cal.Close()
	for _, x := range []struct{ format, scheme, method string }{
		{"gptq", "", "gptq"}, {"awq", "", "awq"}, {"compressed-tensors", "W4A16", "gptq"}, {"compressed-tensors", "FP8_DYNAMIC", RTN}, {"nf4", "", RTN},
	} {
		write := func(out string, wo WriteOptions) error {
			po := PackedOptions{Scheme: packed.Options{Format: x.format, Scheme: x.scheme}, Method: x.method, Loader: "vllm"}
			if x.method == RTN {
				p, err := PlanPacked(c, nil, po)
				if err != nil {
					return err
				}
				return p.Write(ctx, out, wo, nil)
			}
			mo := DefaultMethod()
			mo.Pool, mo.Search = pool, 2
			return writeSolved(c, m, cal, po, mo, out, wo)
		}
		if err := interrupted(disk, filepath.Join(disk, "out"), write); err != nil {
			return fmt.Errorf("%s %s: %w", x.format, x.scheme, err)
		}
	}
	return nil
}

// interrupted writes a folder as it should be, then another while the disk becomes full, then that one to its end.
func interrupted(disk, out string, write func(out string, o WriteOptions) error) error {
	whole := out + "-whole"
	if err := write(whole, WriteOptions{Threads: 2}); err != nil {
		return err
	}
	var free func()
	calls := 0
	err := write(out, WriteOptions{Threads: 2, sync: 1, Progress: func(_, _ int64) {
		if calls++; calls == 4 {
			free = filled(disk)
		}
	}})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "write "+out) {
		return fmt.Errorf("the disk is full: %v", err)
	}
	if isThere(out) || !isThere(partial(out)) || !isThere(journalPath(out)) {
		return errors.New("expected a partial folder and its journal, nothing else")
	}
	free()
	notes := ""
	if err := write(out, WriteOptions{Threads: 2, Note: func(s string) { notes += s }}); err != nil {
		return err
	}
	if !strings.Contains(notes, "continuing an earlier run") {
		return fmt.Errorf("the second run did not go on: %q", notes)
	}
	if err := sameFolders(whole, out); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(whole), os.RemoveAll(out))
}

// sameFolders compares files.
func sameFolders(a, b string) error {
	files, err := os.ReadDir(a)
	if err != nil {
		return err
	}
	for _, f := range files {
		x, err := os.ReadFile(filepath.Join(a, f.Name()))
		if err != nil {
			return err
		}
		y, err := os.ReadFile(filepath.Join(b, f.Name()))
		if err != nil || !bytes.Equal(x, y) {
			return fmt.Errorf("%s: other bytes, %v", f.Name(), err)
		}
	}
	if left, _ := filepath.Glob(b + ".partial*"); len(files) == 0 || len(left) > 0 {
		return fmt.Errorf("%d files, left %v", len(files), left)
	}
	return nil
}
