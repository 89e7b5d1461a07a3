package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layoutFolder is the OCI image layout in the output folder.
const layoutFolder = "oci"

// write writes the layout of the whole index, and for each platform an archive and
// the SBOM. It prints the digest of the index last.
func write(out string, tag name.Tag, index v1.ImageIndex, all []*built, stdout io.Writer) error {
	oci := filepath.Join(out, layoutFolder)
	if err := os.RemoveAll(oci); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	path, err := layout.Write(oci, empty.Index)
	if err != nil {
		return err
	}
	annotation := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag.TagStr()})
	if err := path.AppendIndex(index, annotation); err != nil {
		return err
	}
	for _, one := range all {
		base := filepath.Join(out, "warder-"+strings.ReplaceAll(one.platform.String(), "/", "-"))
		if err := tarball.WriteToFile(base+".tar", tag, one.image); err != nil {
			return err
		}
		if err := os.WriteFile(base+".spdx.json", one.sbom, 0o600); err != nil {
			return err
		}
		digest, err := one.image.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s.tar  %s\n", base, digest)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s  %s\n", oci, digest)
	return err
}
