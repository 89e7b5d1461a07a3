//go:build cluster || pod

package cluster

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// parse returns the objects of a manifest. Istio's mesh configuration, which is no object
// but a part of Istio's own, is left out.
func parse(text string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		doc := map[string]any{}
		switch err := decoder.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		switch _, mesh := doc["extensionProviders"]; {
		case len(doc) == 0: // a comment
		case mesh && doc["kind"] == nil:
		case doc["kind"] == nil:
			return nil, fmt.Errorf("a document without a kind: %v", doc)
		default:
			all = append(all, &unstructured.Unstructured{Object: doc})
		}
	}
}
