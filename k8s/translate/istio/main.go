// Command istio prints the Envoy configuration that Istio's control plane makes for one proxy of
// a cluster: its listeners, with their routes in place, and its clusters, with their endpoints.
//
//	istio -mesh mesh-config.yaml -pod app/app-1 -o proxy.json FILE.yaml...
//
// The files are objects of the cluster as kubectl apply takes them. The pod must be one of them;
// a pod with the label istio: ingressgateway is a gateway, any other one is an application. It
// runs the code of istiod over the objects, without a cluster and without a network.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

// version is the release of Istio that the proxy says it is. The linker sets it to that of the
// commit in go.mod.
var version string

func main() {
	meshFile := flag.String("mesh", "", "the mesh configuration")
	pod := flag.String("pod", "", "the pod whose proxy it is, as namespace/name")
	out := flag.String("o", "", "the file to write")
	flag.Parse()
	if err := run(*meshFile, *pod, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "istio:", err)
		os.Exit(1)
	}
}

func run(meshFile, pod, out string, files []string) error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.ErrorLevel)
	if err := log.Configure(options); err != nil {
		return err
	}
	text, err := os.ReadFile(meshFile)
	if err != nil {
		return err
	}
	meshConfig, err := mesh.ApplyMeshConfigDefaults(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", meshFile, err)
	}
	c, err := read(files)
	if err != nil {
		return err
	}
	proxy, err := c.proxy(pod)
	if err != nil {
		return err
	}
	var made []byte
	err = test.Wrap(func(t test.Failer) {
		s := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			KubernetesObjectString: strings.Join(c.kubernetes, "\n---\n"), ConfigString: strings.Join(c.istio, "\n---\n"), MeshConfig: meshConfig,
		})
		p := s.SetupProxy(proxy)
		var err error
		if made, err = configuration(s, p); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		return err
	}
	return os.WriteFile(out, made, 0o600)
}

// A cluster is the objects in the files. An object replaces one of the same name before it.
type cluster struct {
	kubernetes, istio []string
	pods              []corev1.Pod
	places            map[string]int // of each object in its list
}

func (c *cluster) put(list *[]string, name, text string) {
	if at, found := c.places[name]; found {
		(*list)[at] = text
		return
	}
	c.places[name] = len(*list)
	*list = append(*list, text)
}

// kinds are what the control plane reads of Kubernetes' own objects.
var kinds = []string{"Namespace", "Service", "Pod", "EndpointSlice", "Node", "Secret"}

func read(files []string) (*cluster, error) {
	c := &cluster{places: map[string]int{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var o struct {
				APIVersion, Kind string
				Metadata         struct{ Namespace, Name string }
			}
			if err := yaml.Unmarshal(document, &o); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			name := o.Kind + " " + o.Metadata.Namespace + "/" + o.Metadata.Name
			switch {
			case strings.Contains(o.APIVersion, ".istio.io/"):
				c.put(&c.istio, name, string(document))
			case slices.Contains(kinds, o.Kind):
				c.put(&c.kubernetes, name, string(document))
			}
			if o.Kind == "Pod" {
				var p corev1.Pod
				if err := yaml.Unmarshal(document, &p); err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				c.pods = append(c.pods, p)
			}
		}
	}
	return c, nil
}

// proxy returns the proxy of a pod as it presents itself to the control plane.
func (c *cluster) proxy(name string) (*model.Proxy, error) {
	for _, p := range c.pods {
		if p.Namespace+"/"+p.Name != name {
			continue
		}
		kind := model.SidecarProxy
		if p.Labels["istio"] == "ingressgateway" {
			kind = model.Router
		}
		return &model.Proxy{
			ID: p.Name + "." + p.Namespace, Type: kind, ConfigNamespace: p.Namespace, IPAddresses: []string{p.Status.PodIP}, Labels: p.Labels,
			Metadata: &model.NodeMetadata{Namespace: p.Namespace, Labels: p.Labels, IstioVersion: version, ServiceAccount: p.Spec.ServiceAccountName, ClusterID: "Kubernetes"},
		}, nil
	}
	return nil, fmt.Errorf("no Pod %s in the files", name)
}

// configuration returns what the control plane pushes to the proxy, as static resources of Envoy.
func configuration(s *xds.FakeDiscoveryServer, p *model.Proxy) ([]byte, error) {
	listeners := s.Listeners(p)
	routes := map[string]*routev3.RouteConfiguration{}
	for _, r := range s.RoutesFromListeners(p, listeners) {
		routes[r.GetName()] = r
	}
	var resources struct {
		Listeners []json.RawMessage `json:"listeners"`
		Clusters  []json.RawMessage `json:"clusters"`
	}
	for _, l := range listeners {
		if err := withRoutes(l, routes); err != nil {
			return nil, err
		}
		text, err := marshal(l)
		if err != nil {
			return nil, err
		}
		resources.Listeners = append(resources.Listeners, text)
	}
	endpoints := map[string]json.RawMessage{}
	for _, e := range s.Endpoints(p) {
		text, err := marshal(e)
		if err != nil {
			return nil, err
		}
		endpoints[e.GetClusterName()] = text
	}
	for _, c := range s.Clusters(p) {
		text, err := marshal(c)
		if err != nil {
			return nil, err
		}
		if assignment, found := endpoints[c.GetName()]; found {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(text, &fields); err != nil {
				return nil, err
			}
			delete(fields, "eds_cluster_config")
			fields["type"], fields["load_assignment"] = json.RawMessage(`"STATIC"`), assignment
			if text, err = json.Marshal(fields); err != nil {
				return nil, err
			}
		}
		resources.Clusters = append(resources.Clusters, text)
	}
	return json.Marshal(map[string]any{"static_resources": resources})
}

// withRoutes puts the routes that a listener would ask for by name in their place.
func withRoutes(l *listenerv3.Listener, routes map[string]*routev3.RouteConfiguration) error {
	for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
		for _, f := range chain.GetFilters() {
			manager := new(hcmv3.HttpConnectionManager)
			if !f.GetTypedConfig().MessageIs(manager) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(manager); err != nil {
				return err
			}
			name := manager.GetRds().GetRouteConfigName()
			if name == "" {
				continue
			}
			if routes[name] == nil {
				return errors.New("no routes " + name)
			}
			manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes[name]}
			packed, err := anypb.New(manager)
			if err != nil {
				return err
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
		}
	}
	return nil
}

func marshal(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
}
