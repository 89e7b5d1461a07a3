package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Where things are in the image. The Dockerfile has the same paths.
const (
	programFile = "usr/local/bin/warder"
	rootsFile   = "etc/ssl/certs/ca-certificates.crt"
	// sbomFile is where scanners of images look for one.
	sbomFile = "var/lib/db/sbom/warder.spdx.json"
)

// uid is the user and the group, by number: the kubelet cannot tell that a named
// user is not root.
const uid = "65532"

// The names are for people. There is no shell and no home.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nwarder:x:" + uid + ":" + uid + ":warder:/nonexistent:/sbin/nologin\n"
	group  = "root:x:0:\nnobody:x:65534:\nwarder:x:" + uid + ":\n"
)

// A file is a regular file of the image. All belong to root and nobody may write them.
type file struct {
	path       string // without a leading slash
	data       []byte
	executable bool
}

// baseFiles are those that do not depend on the platform.
func baseFiles() ([]file, error) {
	roots, err := rootCertificates()
	if err != nil {
		return nil, err
	}
	return []file{
		{path: "etc/group", data: []byte(group)},
		{path: "etc/passwd", data: []byte(passwd)},
		{path: rootsFile, data: roots},
	}, nil
}

// rootCertificates returns Mozilla's certificate authorities as PEM, for stores behind
// public certificates. A root that Mozilla trusts only for certificates up to a
// date is left out: PEM cannot say so.
func rootCertificates() ([]byte, error) {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		cert, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return nil, fmt.Errorf("a root certificate: %w", err)
		}
		fmt.Fprintf(&text, "# %s\n", cert.Subject)
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// layerOf returns the files as one layer: in order, with their folders, without the
// time and the owner of any machine.
func layerOf(files []file) (v1.Layer, error) {
	data, err := tarOf(files)
	if err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression))
}

func tarOf(files []file) ([]byte, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{".": true}
	var folder func(dir string) error
	folder = func(dir string) error {
		if made[dir] {
			return nil
		}
		if err := folder(path.Dir(dir)); err != nil {
			return err
		}
		made[dir] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
	}
	for _, f := range files {
		if err := folder(path.Dir(f.path)); err != nil {
			return nil, err
		}
		mode := int64(0o444)
		if f.executable {
			mode = 0o555
		}
		header := tar.Header{Typeflag: tar.TypeReg, Name: f.path, Size: int64(len(f.data)), Mode: mode, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
