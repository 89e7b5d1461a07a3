//go:build pod

package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The images that the pods run, beside warder's own.
const (
	pauseImage = "test.example.com/pause:1"
	envoyImage = "docker.io/envoyproxy/envoy:distroless-v1.40.0" // as in the chart
)

// warderImage returns the image that make image wrote for this machine.
func warderImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := tarball.ImageFromPath("../../bin/image/warder-linux-"+runtime.GOARCH+".tar", nil)
	if err != nil {
		t.Fatalf("%v; run the tests with make pod-test", err)
	}
	return img
}

// warderProgram takes the program out of the image, for what is done outside of pods.
func warderProgram(t *testing.T, img v1.Image) string {
	t.Helper()
	stream := mutate.Extract(img)
	defer stream.Close()
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("no warder in its image")
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Name != "usr/local/bin/warder" {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "warder")
		if err := os.WriteFile(file, data, 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
}

// podImages makes the images of the pause container and of the application.
func podImages(t *testing.T) []string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pod")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, "./cmd/pod")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	files := map[string]string{"pod": program}
	return []string{
		pack(t, pauseImage, files, "/pod", "pause"),
		pack(t, shippedApp, files, "/pod", "app"),
	}
}

// envoyArchive makes an image of the Envoy that make tools installed, with the libraries that it needs.
func envoyArchive(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("../../.tools/venv/lib/python3*/site-packages/envoy/_bin/envoy")
	if err != nil || len(found) != 1 {
		t.Fatalf("found %d Envoys in .tools/venv: %v; run make tools", len(found), err)
	}
	files := map[string]string{"usr/local/bin/envoy": found[0]}
	out, err := exec.CommandContext(t.Context(), "ldd", found[0]).Output()
	if err != nil {
		t.Fatalf("ldd: %v", err)
	}
	for _, library := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		files[strings.TrimPrefix(library[1], "/")] = library[1]
	}
	return pack(t, envoyImage, files, "/usr/local/bin/envoy")
}

// pack writes an image of files of this machine, by their path in it, as an archive.
func pack(t *testing.T, ref string, files map[string]string, entrypoint ...string) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for path, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil }, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, made)
	if err != nil {
		t.Fatal(err)
	}
	config := &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{Entrypoint: entrypoint}}
	before, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.RootFS = before.RootFS
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return writeArchive(t, ref, img)
}

// writeArchive writes an image under a name, as an archive.
func writeArchive(t *testing.T, ref string, img v1.Image) string {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	return file
}

func decode(text string, to any) error { return json.Unmarshal([]byte(text), to) }
