package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A built is the image for one platform.
type built struct {
	platform    v1.Platform
	image       v1.Image
	annotations map[string]string
	sbom        []byte
}

// buildImage compiles warder for a platform and makes an image of it. Labels of the user
// are added to those that the image has by itself, or replace them.
func buildImage(ctx context.Context, source string, platform v1.Platform, own map[string]string) (*built, error) {
	p, err := compile(ctx, source, platform)
	if err != nil {
		return nil, err
	}
	created, err := p.created()
	if err != nil {
		return nil, err
	}
	sbom, err := sbomOf(p, platform, created)
	if err != nil {
		return nil, err
	}
	labels := labelsOf(p, created)
	maps.Copy(labels, own)

	base, err := baseFiles()
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, each := range []struct {
		what  string
		files []file
	}{
		{"certificate authorities and the user", base},
		{"warder and its SBOM", []file{{path: programFile, data: p.data, executable: true}, {path: sbomFile, data: sbom}}},
	} {
		layer, err := layerOf(each.files)
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: created}, CreatedBy: "make image", Comment: each.what}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: created}
	// The same as in the Dockerfile.
	config.Config = v1.Config{
		User:         uid + ":" + uid,
		ExposedPorts: map[string]struct{}{"9191/tcp": {}, "9192/tcp": {}},
		Entrypoint:   []string{"/" + programFile},
		Cmd:          []string{"serve"},
		WorkingDir:   "/",
		Labels:       labels,
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	annotated, ok := mutate.Annotations(img, labels).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("an annotated image is a %T", img)
	}
	return &built{platform: platform, image: annotated, annotations: labels, sbom: sbom}, nil
}

// labelsOf returns what the image says about itself, by the names of the OCI image
// specification.
func labelsOf(p program, created time.Time) map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title":       "warder",
		"org.opencontainers.image.description": "External authorization for Envoy from one policy file",
		"org.opencontainers.image.licenses":    license,
		"org.opencontainers.image.created":     created.Format(time.RFC3339),
	}
	if v := p.version(); v != "" {
		all["org.opencontainers.image.version"] = v
	}
	if r := p.revision(); r != "" {
		all["org.opencontainers.image.revision"] = r
	}
	return all
}

// indexOf returns the index of the images, from which a node takes that of its platform.
func indexOf(all []*built) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, one := range all {
		platform := one.platform
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one.image, Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &platform}})
	}
	annotated, ok := mutate.Annotations(index, all[0].annotations).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("an annotated index is a %T", index)
	}
	return annotated, nil
}
