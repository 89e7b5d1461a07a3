package k8s

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
)

// A workload is what makes pods: a Deployment, or an EnvoyProxy with a patch for one.
type workload struct {
	object
	selector map[string]string
	labels   map[string]string
	pod      podSpec
	patch    any       // when not nil, what is added to a pod that Envoy Gateway owns
	proxy    container // what Istio adds to the pod, as far as annotations say it
}

type podSpec struct {
	ServiceAccountName           string
	AutomountServiceAccountToken *bool
	EnableServiceLinks           *bool
	HostNetwork, HostPID         bool
	SecurityContext              struct {
		RunAsNonRoot       bool
		RunAsUser, FSGroup *int64
		SeccompProfile     struct{ Type string }
	}
	InitContainers, Containers    []container
	Volumes                       []volume
	TerminationGracePeriodSeconds *int
}

func (p podSpec) containers() []container { return slices.Concat(p.InitContainers, p.Containers) }

type container struct {
	Name, Image, RestartPolicy string
	Args                       []string
	Env                        []struct {
		Name, Value string
		ValueFrom   any
	}
	Ports []struct {
		Name          string
		ContainerPort int
		HostPort      int
	}
	StartupProbe, ReadinessProbe, LivenessProbe *probe

	Lifecycle struct {
		PreStop *struct{ Sleep *struct{ Seconds int } }
	}

	Resources struct{ Requests, Limits map[string]any }

	SecurityContext struct {
		RunAsUser                *int64
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Privileged               bool
		Capabilities             struct{ Drop, Add []string }
	}
	VolumeMounts []mount
}

type probe struct {
	HTTPGet *struct {
		Path string
		Port any
	}
	TCPSocket *struct{ Port any }
	GRPC      *struct{ Port any }
}

// port returns the port that the probe asks, a name or a number.
func (p *probe) port() any {
	switch {
	case p.HTTPGet != nil:
		return p.HTTPGet.Port
	case p.TCPSocket != nil:
		return p.TCPSocket.Port
	case p.GRPC != nil:
		return p.GRPC.Port
	}
	return nil
}

type mount struct {
	Name, MountPath, SubPath string
	ReadOnly                 bool
}

type volume struct {
	Name      string
	ConfigMap *struct {
		Name string
	}
	Secret *struct {
		SecretName  string
		DefaultMode int
		Optional    bool
	}
	EmptyDir *struct{ Medium, SizeLimit string }
}

// source is the key of the object whose content the volume shows, or "".
func (v volume) source(namespace string) string {
	switch {
	case v.ConfigMap != nil:
		return key("ConfigMap", namespace, v.ConfigMap.Name)
	case v.Secret != nil:
		return key("Secret", namespace, v.Secret.SecretName)
	}
	return ""
}

// workloads returns all that makes pods.
func (f *form) workloads() []workload {
	var all []workload
	for _, o := range f.objects {
		switch o.kind() {
		case "Deployment":
			all = append(all, workload{
				object:   o,
				selector: into[map[string]string](dig(o.doc, "spec", "selector", "matchLabels")),
				labels:   into[map[string]string](dig(o.doc, "spec", "template", "metadata", "labels")),
				pod:      into[podSpec](dig(o.doc, "spec", "template", "spec")),
				proxy:    istioProxy(o),
			})
		case "EnvoyProxy":
			if spec := dig(o.doc, "spec", "provider", "kubernetes", "envoyDeployment", "patch", "value", "spec", "template", "spec"); spec != nil {
				all = append(all, workload{object: o, pod: into[podSpec](spec), patch: spec})
			}
		}
	}
	return all
}

// istioProxy returns the container of Istio's proxy with the mounts that an annotation asks for.
func istioProxy(deployment object) container {
	proxy := container{Name: "istio-proxy"}
	text := deployment.text("spec", "template", "metadata", "annotations", "sidecar.istio.io/userVolumeMount")
	var mounts map[string]mount
	if err := json.Unmarshal([]byte(text), &mounts); err != nil {
		return proxy
	}
	for name, m := range mounts {
		m.Name = name
		proxy.VolumeMounts = append(proxy.VolumeMounts, m)
	}
	return proxy
}

// hasPort reports whether a container of the pod has the port, a name or a number.
func (p podSpec) hasPort(port any) bool {
	for _, c := range p.containers() {
		for _, has := range c.Ports {
			if name, ok := port.(string); ok && has.Name == name {
				return true
			}
			if number, ok := port.(float64); ok && has.ContainerPort == int(number) {
				return true
			}
		}
	}
	return false
}

// volume returns the volume of that name.
func (p podSpec) volume(name string) (volume, bool) {
	i := slices.IndexFunc(p.Volumes, func(v volume) bool { return v.Name == name })
	if i < 0 {
		return volume{}, false
	}
	return p.Volumes[i], true
}

// at returns the volume that a container sees at a path, and the rest of the path in it.
func (p podSpec) at(c container, file string) (v volume, m mount, rest string, ok bool) {
	for _, each := range c.VolumeMounts {
		inside, below := strings.CutPrefix(file, each.MountPath+"/")
		if file != each.MountPath && !below || len(each.MountPath) < len(m.MountPath) {
			continue
		}
		if file == each.MountPath {
			inside = ""
		}
		m, rest = each, inside
		v, ok = p.volume(each.Name)
	}
	return v, m, rest, ok
}

// checkPod: what Pod Security "restricted" asks for and more, volumes that exist,
// probes that ask a port that exists.
func checkPod(r *report, f *form, w workload) {
	p := w.pod
	bad := func(format string, args ...any) { r.addf("%s: "+format, append([]any{w.object}, args...)...) }
	isFalse := func(b *bool) bool { return b != nil && !*b }

	if !p.SecurityContext.RunAsNonRoot || p.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
		bad("the pod needs runAsNonRoot and the seccomp profile RuntimeDefault")
	}
	if !isFalse(p.AutomountServiceAccountToken) || !isFalse(p.EnableServiceLinks) {
		bad("the pod needs automountServiceAccountToken: false and enableServiceLinks: false")
	}
	if p.HostNetwork || p.HostPID {
		bad("the pod is in the node's namespaces")
	}
	if name := p.ServiceAccountName; w.patch == nil && !f.exists(key("ServiceAccount", w.namespace(), name)) {
		bad("no ServiceAccount %q", name)
	}
	mounted := map[string]bool{}
	for _, c := range p.containers() {
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = true
			checkMount(bad, p, c, m)
		}
		if c.Image != "" || w.patch == nil { // else a container of Envoy Gateway's own
			checkContainer(bad, p, c)
		}
	}
	for _, v := range p.Volumes {
		if !mounted[v.Name] {
			bad("no container mounts volume %s", v.Name)
		}
		if source := v.source(w.namespace()); source != "" && !f.exists(source) {
			bad("volume %s shows %s, which does not exist", v.Name, source)
		}
		if v.Secret != nil && (v.Secret.DefaultMode != 0o440 || p.SecurityContext.FSGroup == nil) {
			bad("volume %s: a secret needs defaultMode 0440 and an fsGroup to be read by its group alone", v.Name)
		}
		if v.EmptyDir != nil && v.EmptyDir.SizeLimit == "" {
			bad("volume %s has no sizeLimit", v.Name)
		}
	}
}

func checkMount(bad func(string, ...any), p podSpec, c container, m mount) {
	v, ok := p.volume(m.Name)
	switch {
	case !ok:
		bad("%s mounts %s, which is no volume", c.Name, m.Name)
	case m.SubPath != "":
		bad("%s mounts %s by subPath, which never sees a change", c.Name, m.Name)
	case v.EmptyDir == nil && !m.ReadOnly:
		bad("%s mounts %s for writing", c.Name, m.Name)
	}
	for _, other := range c.VolumeMounts {
		// The kubelet cannot make a folder inside a read-only volume.
		if other != m && strings.HasPrefix(other.MountPath+"/", path.Clean(m.MountPath)+"/") {
			bad("%s mounts %s at or inside %s", c.Name, other.Name, m.MountPath)
		}
	}
}

func checkContainer(bad func(string, ...any), p podSpec, c container) {
	s := c.SecurityContext
	user := s.RunAsUser
	if user == nil {
		user = p.SecurityContext.RunAsUser
	}
	if user == nil || *user == 0 {
		bad("%s runs as root, or as whoever its image says; give a runAsUser", c.Name)
	}
	if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged ||
		!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || len(s.Capabilities.Add) > 0 {
		bad("%s may gain rights; it needs allowPrivilegeEscalation: false and capabilities.drop: [ALL]", c.Name)
	}
	if !s.ReadOnlyRootFilesystem {
		bad("%s may write to its image; set readOnlyRootFilesystem: true", c.Name)
	}
	if _, tag, tagged := strings.Cut(path.Base(c.Image), ":"); !tagged || tag == "latest" {
		bad("%s has no fixed image: %q", c.Name, c.Image)
	}
	if c.Resources.Limits["memory"] == nil || c.Resources.Requests["memory"] == nil || c.Resources.Requests["cpu"] == nil {
		bad("%s needs requests for cpu and memory and a limit for memory", c.Name)
	}
	if c.Resources.Limits["cpu"] != nil {
		bad("%s has a limit for cpu, which slows single requests down", c.Name)
	}
	for name, p2 := range probes(c) {
		if !p.hasPort(p2.port()) {
			bad("%s of %s asks port %v, which no container has", name, c.Name, p2.port())
		}
	}
	for _, port := range c.Ports {
		if port.HostPort != 0 {
			bad("%s takes port %d of the node", c.Name, port.HostPort)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			bad("%s gets %s from elsewhere; secrets come as files, which can change and are in no dump of the environment", c.Name, e.Name)
		}
	}
}

// probes returns the probes that a container has, by name.
func probes(c container) map[string]*probe {
	all := map[string]*probe{"startupProbe": c.StartupProbe, "readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe}
	maps.DeleteFunc(all, func(_ string, p *probe) bool { return p == nil })
	return all
}
