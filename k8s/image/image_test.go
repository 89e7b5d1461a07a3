package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	spdxjson "github.com/spdx/tools-golang/json"
)

// maxCompressed is what the image of one platform may have at most, in bytes.
const maxCompressed = 20 << 20

// copySource copies warder's source, without what belongs to this machine.
func copySource(t *testing.T, to string) {
	t.Helper()
	const from = "../.."
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case rel == ".git", rel == ".tools", rel == "bin":
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makeImage runs the program and returns the index that it wrote.
func makeImage(t *testing.T, source, out string, args ...string) v1.ImageIndex {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), append([]string{"-source", source, "-out", out}, args...), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	root, err := layout.ImageIndexFromPath(filepath.Join(out, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("index.json has %d entries, want the one index", len(manifest.Manifests))
	}
	index, err := root.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	// Of what is printed, people pin the digest.
	digest := digestOf(t, index)
	if !strings.HasSuffix(stdout.String(), digest+"\n") {
		t.Errorf("the digest %s is not the last that is printed:\n%s", digest, &stdout)
	}
	return index
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// imagesOf returns the images of an index by platform.
func imagesOf(t *testing.T, index v1.ImageIndex) map[string]v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]v1.Image{}
	for _, each := range manifest.Manifests {
		img, err := index.Image(each.Digest)
		if err != nil {
			t.Fatal(err)
		}
		all[each.Platform.String()] = img
	}
	return all
}

func configOf(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// An entry is one entry of the image's file system.
type entry struct {
	tar.Header
	data []byte
}

func filesOf(t *testing.T, img v1.Image) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	stream := mutate.Extract(img)
	defer stream.Close()
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[header.Name] = entry{*header, data}
	}
}

// TestImage builds the image of both platforms from two folders and looks at all that is in it.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "another", "folder", "with a space")
	copySource(t, first)
	copySource(t, second)
	out := filepath.Join(dir, "out")
	index := makeImage(t, first, out, "-name", "registry.example.com/warder:1.2.3")
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}

	t.Run("same digest", func(t *testing.T) {
		// Into a folder that holds an image already: nothing of it may stay.
		other := filepath.Join(dir, "other")
		makeImage(t, second, other, "-platforms", "linux/amd64", "-label", "org.opencontainers.image.vendor=x")
		again := makeImage(t, second, other, "-name", "other:1")
		if got, want := digestOf(t, again), digestOf(t, index); got != want {
			t.Errorf("another folder and name give another digest: %s and %s", got, want)
		}
	})

	images := imagesOf(t, index)
	if got, want := slices.Sorted(maps.Keys(images)), []string{"linux/amd64", "linux/arm64"}; !slices.Equal(got, want) {
		t.Fatalf("platforms %q, want %q", got, want)
	}
	for platform, img := range images {
		t.Run(platform, func(t *testing.T) {
			checkConfig(t, img)
			files := filesOf(t, img)
			checkFiles(t, files)
			checkProgram(t, files[programFile].data, strings.TrimPrefix(platform, "linux/"), first)
			checkSBOM(t, files[sbomFile].data, files[programFile].data)
			checkRoots(t, files[rootsFile].data)
			checkSize(t, img)

			base := filepath.Join(out, "warder-"+strings.ReplaceAll(platform, "/", "-"))
			beside, err := os.ReadFile(base + ".spdx.json")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(beside, files[sbomFile].data) {
				t.Error("the SBOM beside the image is not the one in it")
			}
			archive(t, base+".tar", img)
		})
	}
}

// archive checks that the archive for docker load has this image, under its name.
func archive(t *testing.T, file string, want v1.Image) {
	t.Helper()
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"registry.example.com/warder:1.2.3"}) {
		t.Errorf("%s has %+v", file, manifest)
	}
	got, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	gotName, err := got.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	wantName, err := want.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if gotName != wantName {
		t.Errorf("%s has the image %s, want %s", file, gotName, wantName)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
}

// checkConfig holds the configuration of the image against the Dockerfile.
func checkConfig(t *testing.T, img v1.Image) {
	t.Helper()
	data, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, ok := strings.Cut(string(data), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the Dockerfile has no stage FROM scratch")
	}
	want := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(USER|EXPOSE|ENTRYPOINT|CMD) (.*)$`).FindAllStringSubmatch(last, -1) {
		want[m[1]] = m[2]
	}
	for _, f := range []string{rootsFile, programFile} {
		if !strings.Contains(last, " /"+f+"\n") && !strings.Contains(last, " /"+filepath.Dir(f)+"/\n") {
			t.Errorf("the Dockerfile puts nothing at /%s", f)
		}
	}
	c := configOf(t, img).Config
	ports := slices.Sorted(maps.Keys(c.ExposedPorts))
	for i, port := range ports {
		ports[i] = strings.TrimSuffix(port, "/tcp")
	}
	asJSON := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	got := map[string]string{"USER": c.User, "EXPOSE": strings.Join(ports, " "), "ENTRYPOINT": asJSON(c.Entrypoint), "CMD": asJSON(c.Cmd)}
	if !maps.Equal(got, want) {
		t.Errorf("the image has %q, the Dockerfile %q", got, want)
	}
	if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(c.User) {
		t.Errorf("user %q is not a number above 0", c.User)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(c.Labels, manifest.Annotations) {
		t.Errorf("labels %v are not the annotations %v", c.Labels, manifest.Annotations)
	}
	for _, label := range []string{"title", "description", "licenses", "created"} {
		if c.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("no label %s", label)
		}
	}
}

// checkFiles checks that the image has these files, and so no shell and no library,
// and that nobody gains a right by one.
func checkFiles(t *testing.T, files map[string]entry) {
	t.Helper()
	want := []string{"etc/group", "etc/passwd", rootsFile, programFile, sbomFile}
	var got []string
	for name, f := range files {
		switch f.Typeflag {
		case tar.TypeDir:
		case tar.TypeReg:
			got = append(got, name)
		default:
			t.Errorf("%s has the type %q", name, f.Typeflag)
		}
		if f.Mode&^0o755 != 0 {
			t.Errorf("%s has the mode %o: setuid, setgid, sticky, or writable for others", name, f.Mode)
		}
		if executable := f.Mode&0o111 != 0; executable != (f.Typeflag == tar.TypeDir || name == programFile) {
			t.Errorf("%s has the mode %o", name, f.Mode)
		}
		if f.Uid != 0 || f.Gid != 0 || f.Uname != "" || f.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d %q and is of %v; want root, and no time", name, f.Uid, f.Gid, f.Uname, f.ModTime)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if !strings.Contains(string(files["etc/passwd"].data), ":65532:65532:") {
		t.Error("the user is not in /etc/passwd")
	}
}

// checkProgram checks that warder is one static program for the architecture, which
// says nothing about the machine that built it.
func checkProgram(t *testing.T, data []byte, architecture, source string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[architecture]
	if f.Machine != want {
		t.Errorf("the program is for %s, want %s", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: it has %s", p.Type)
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{source, filepath.Join(home, "go"), os.TempDir() + "/"} {
		// The kernel's names of temporary folders are in every program that makes one.
		if text != "/tmp/" && bytes.Contains(data, []byte(text)) {
			t.Errorf("the program has the path %s in it", text)
		}
	}
}

// checkSBOM checks that the SBOM lists exactly the modules of the program.
func checkSBOM(t *testing.T, sbom, program []byte) {
	t.Helper()
	doc, err := spdxjson.Read(bytes.NewReader(sbom))
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"warder ", "stdlib " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		want = append(want, m.Path+" "+m.Version)
	}
	if len(want) < 20 {
		t.Errorf("the program has %d modules; are they read?", len(want))
	}
	var got []string
	known := map[string]bool{"DOCUMENT": true}
	for _, p := range doc.Packages {
		if known[string(p.PackageSPDXIdentifier)] {
			t.Errorf("two elements are %s", p.PackageSPDXIdentifier)
		}
		known[string(p.PackageSPDXIdentifier)] = true
		if len(p.PackageExternalReferences) != 1 || !strings.HasPrefix(p.PackageExternalReferences[0].Locator, "pkg:golang/") {
			t.Errorf("%s has the references %v, want a package URL", p.PackageName, p.PackageExternalReferences)
		}
		if p.PackageName == "golang.org/x/crypto/x509roots/fallback" {
			continue // beside the program
		}
		got = append(got, p.PackageName+" "+p.PackageVersion)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the SBOM has\n%s\nthe program\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(doc.Packages) != len(want)+1 {
		t.Error("the SBOM does not name the module of the certificate authorities")
	}
	related := map[string]bool{}
	for _, r := range doc.Relationships {
		for _, id := range []string{string(r.RefA.ElementRefID), string(r.RefB.ElementRefID)} {
			if !known[id] {
				t.Errorf("%s %s %s: no such element", r.RefA.ElementRefID, r.Relationship, r.RefB.ElementRefID)
			}
			related[id] = true
		}
	}
	if len(related) != len(known) {
		t.Errorf("%d of %d elements have a relationship", len(related), len(known))
	}
	sum := sha256.Sum256(program)
	if c := doc.Packages[0].PackageChecksums; len(c) != 1 || c[0].Value != hex.EncodeToString(sum[:]) {
		t.Errorf("checksum %v is not that of the program", c)
	}
}

// checkRoots checks the certificate authorities.
func checkRoots(t *testing.T, text []byte) {
	t.Helper()
	names := map[string]int{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !cert.IsCA {
			t.Errorf("%s is no authority", cert.Subject)
		}
		names[cert.Subject.CommonName]++
	}
	if len(names) < 100 || names["ISRG Root X1"] != 1 {
		t.Errorf("%d authorities, with ISRG Root X1 %d times", len(names), names["ISRG Root X1"])
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		t.Error("Go reads no certificate in it")
	}
}

func checkSize(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			t.Fatal(err)
		}
		total += size
	}
	t.Logf("%.1f MB compressed", float64(total)/1e6)
	if total > maxCompressed {
		t.Errorf("%d bytes compressed, want %d at most", total, maxCompressed)
	}
}

// TestRevision checks that the image of a commit names it, and that the image of a changed tree
// does not name the commit that it was changed from.
func TestRevision(t *testing.T) {
	source := t.TempDir()
	copySource(t, source)
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=2025-03-04T05:06:07Z", "GIT_COMMITTER_DATE=2025-03-04T05:06:07Z")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet")
	git("add", "--all")
	git("commit", "--quiet", "--message=x")
	git("tag", "v1.2.3")
	labels := func() map[string]string {
		index := makeImage(t, source, filepath.Join(t.TempDir(), "out"), "-platforms", "linux/amd64", "-label", "org.opencontainers.image.source=https://git.example.com/warder")
		return configOf(t, imagesOf(t, index)["linux/amd64"]).Config.Labels
	}
	got := labels()
	for name, want := range map[string]string{
		"revision": git("rev-parse", "HEAD"), "version": "v1.2.3", "created": "2025-03-04T05:06:07Z", "source": "https://git.example.com/warder",
	} {
		if got["org.opencontainers.image."+name] != want {
			t.Errorf("%s %q, want %q", name, got["org.opencontainers.image."+name], want)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "more.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got = labels()
	if r, ok := got["org.opencontainers.image.revision"]; ok {
		t.Errorf("a changed tree has the revision %s", r)
	}
	if v := got["org.opencontainers.image.version"]; v != "v1.2.3+dirty" {
		t.Errorf("a changed tree has the version %q", v)
	}
}

// TestTarIsOrdered checks that a layer does not depend on the order in which its files are given.
func TestTarIsOrdered(t *testing.T) {
	t.Parallel()
	files := []file{{path: "b/c", data: []byte("1")}, {path: "a", executable: true}, {path: "b/a/x"}}
	first, err := tarOf(files)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	second, err := tarOf(files)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("another order gives another layer")
	}
	if files[0].path != "b/a/x" {
		t.Error("the files of the caller are sorted")
	}
}

// TestRefuses checks that wrong arguments end with a message that says what would be right,
// before anything is compiled.
func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"", "-out FOLDER"},
		{"-out x extra", "-out FOLDER"},
		{"-out x -platforms linux", "linux/amd64"},
		{"-out x -platforms linux/amd64,", "linux/amd64"},
		{"-out x -platforms windows/amd64", "linux/amd64"},
		{"-out x -name warder", "NAME:TAG"},
		{"-out x -name Warder:1", "NAME:TAG"},
		{"-out x -label vendor", "org.opencontainers.image.source=URL"},
		{"-out x -label =y", "org.opencontainers.image.source=URL"},
	} {
		var stderr bytes.Buffer
		err := run(t.Context(), strings.Fields(tt.args), io.Discard, &stderr)
		if err == nil || !strings.Contains(err.Error()+stderr.String(), tt.want) {
			t.Errorf("%q: got %v, want an error with %q", tt.args, err, tt.want)
		}
	}
	if _, err := os.Stat("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it wrote to x: %v", err)
	}
}
