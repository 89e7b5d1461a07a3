package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// license is the SPDX id of LICENSE.
const license = "Apache-2.0"

// sbomOf returns the software bill of materials of the image as SPDX 2.3 in JSON: warder, the
// modules that are linked into it, Go's standard library, and the module of
// the certificate authorities.
func sbomOf(p program, platform v1.Platform, created time.Time) ([]byte, error) {
	sum := sha256.Sum256(p.data)
	digest := hex.EncodeToString(sum[:])
	warder := goPackage(p.info.Main.Path, p.version())
	warder.PackageFileName = "/" + programFile
	warder.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: digest}}
	warder.PackageLicenseDeclared = license
	warder.PrimaryPackagePurpose = "APPLICATION"

	doc := &spdx.Document{
		SPDXVersion:    spdx.Version,
		DataLicense:    spdx.DataLicense,
		SPDXIdentifier: "DOCUMENT",
		DocumentName:   "warder " + platform.String(),
		// Unique for each program, as SPDX asks for.
		DocumentNamespace: "https://spdx.org/spdxdocs/warder-" + digest,
		CreationInfo: &spdx.CreationInfo{
			Created:  created.Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "warder-k8s-image"}},
		},
		Packages:      []*spdx.Package{warder},
		Relationships: []*spdx.Relationship{relationship("DOCUMENT", "DESCRIBES", warder.PackageSPDXIdentifier)},
	}
	add := func(each *spdx.Package, relations ...*spdx.Relationship) {
		doc.Packages = append(doc.Packages, each)
		doc.Relationships = append(doc.Relationships, relations...)
	}
	linked := []*spdx.Package{goPackage("stdlib", strings.TrimPrefix(p.info.GoVersion, "go"))}
	for _, m := range p.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		linked = append(linked, goModule(m))
	}
	for _, each := range linked {
		add(each, relationship(warder.PackageSPDXIdentifier, "DEPENDS_ON", each.PackageSPDXIdentifier))
	}
	roots, err := rootsModule()
	if err != nil {
		return nil, err
	}
	// Its certificates are beside warder in the image; nothing of it is in the program.
	authorities := goModule(roots)
	add(authorities, relationship(authorities.PackageSPDXIdentifier, "RUNTIME_DEPENDENCY_OF", warder.PackageSPDXIdentifier))

	var out bytes.Buffer
	if err := spdxjson.Write(doc, &out, spdxjson.Indent("  ")); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// rootsModule returns the module that the certificate authorities come from.
func rootsModule() (*debug.Module, error) {
	const path = "golang.org/x/crypto/x509roots/fallback"
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("this program does not know the version of %s; build it with the go command", path)
}

func goModule(m *debug.Module) *spdx.Package {
	p := goPackage(m.Path, m.Version)
	if m.Sum != "" {
		// It is Go's hash over the names and contents of the files, and no hash of an
		// archive, which a PackageChecksum would be.
		p.PackageComment = "go.sum: " + m.Sum
	}
	return p
}

// goPackage returns a package that is a Go module. Version may be "".
func goPackage(path, version string) *spdx.Package {
	purl := "pkg:golang/" + (&url.URL{Path: strings.ToLower(path)}).EscapedPath()
	if version != "" {
		purl += "@" + url.QueryEscape(version)
	}
	return &spdx.Package{
		PackageName:               path,
		PackageSPDXIdentifier:     identifier(path, version),
		PackageVersion:            version,
		PackageDownloadLocation:   "NOASSERTION",
		FilesAnalyzed:             false,
		IsFilesAnalyzedTagPresent: true,
		PackageLicenseConcluded:   "NOASSERTION",
		PackageLicenseDeclared:    "NOASSERTION",
		PackageCopyrightText:      "NOASSERTION",
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
		}},
	}
}

func relationship(a common.ElementID, how string, b common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: how}
}

// notInIdentifiers are the characters that an SPDX identifier may not have.
var notInIdentifiers = regexp.MustCompile(`[^A-Za-z0-9.]+`)

func identifier(path, version string) common.ElementID {
	return common.ElementID("Package-" + notInIdentifiers.ReplaceAllString(strings.TrimSuffix(path+"-"+version, "-"), "-"))
}
