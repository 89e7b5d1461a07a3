package k8s

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"warder/policy"
)

// A settings is what these tests need of warder.yaml. Whether warder accepts the
// whole file is for warder to say (TestWarderAcceptsManifests).
type settings struct {
	Listen struct {
		GRPC, Admin string
		Plaintext   bool
		TLS         struct {
			CertFile     string `yaml:"cert_file"`
			KeyFile      string `yaml:"key_file"`
			ClientCAFile string `yaml:"client_ca_file"`
		}
	}
	Policy string
	JWT    struct {
		Keys []struct {
			SecretFile string `yaml:"secret_file"`
		}
	}
	Sessions struct {
		RedisURLFile string `yaml:"redis_url_file"`
	}
	Directory struct {
		DatabaseURLFile string `yaml:"database_url_file"`
		Users           string
		APIKeys         string `yaml:"api_keys"`
	}
	ClientIP struct {
		Source string
	} `yaml:"client_ip"`
	Shutdown struct{ Delay, Timeout *time.Duration }
}

// secretFiles are the files that hold secrets.
func (s settings) secretFiles() []string {
	files := []string{s.Sessions.RedisURLFile}
	if d := s.Directory; d.DatabaseURLFile != "" || d.Users != "token" || d.APIKeys != "off" { // else there is no database
		files = append(files, d.DatabaseURLFile)
	}
	for _, k := range s.JWT.Keys {
		files = append(files, k.SecretFile)
	}
	return files
}

// tlsFiles are the files of the listener's certificates.
func (s settings) tlsFiles() []string {
	t := s.Listen.TLS
	return slices.DeleteFunc([]string{t.CertFile, t.KeyFile, t.ClientCAFile}, func(f string) bool { return f == "" })
}

// warderIn returns the container that runs warder, and its configuration.
func warderIn(f *form, w workload) (c container, text string, found bool) {
	for _, c := range w.pod.containers() {
		for _, arg := range c.Args {
			if file, ok := strings.CutPrefix(arg, "--config="); ok && c.Name == "warder" {
				text, _ := readMounted(f, w, c, file)
				return c, text, true
			}
		}
	}
	return container{}, "", false
}

// readMounted returns the content of a file as a container sees it.
func readMounted(f *form, w workload, c container, file string) (string, bool) {
	v, _, rest, ok := w.pod.at(c, file)
	if !ok {
		return "", false
	}
	return f.content(v.source(w.namespace()), rest)
}

// listeners returns where the warders of the form listen for checks.
func listeners(f *form) []string {
	var all []string
	for _, w := range f.workloads() {
		if _, text, ok := warderIn(f, w); ok {
			var s settings
			if yaml.Unmarshal([]byte(text), &s) == nil {
				all = append(all, s.Listen.GRPC)
			}
		}
	}
	return all
}

// checkWarder: warder's configuration and the pod it runs in agree.
func checkWarder(r *report, f *form, w workload) {
	bad := func(format string, args ...any) { r.addf("%s: warder: "+format, append([]any{w.object}, args...)...) }
	c, text, found := warderIn(f, w)
	if !found {
		bad("no container warder with --config=FILE")
		return
	}
	var s settings
	if err := yaml.Unmarshal([]byte(text), &s); err != nil || text == "" {
		bad("no configuration at the path of --config: %v", err)
		return
	}
	if c.Args[0] != "serve" {
		bad("runs %q, not serve", c.Args[0])
	}
	if i := slices.IndexFunc(w.pod.InitContainers, func(i container) bool { return i.Name == c.Name }); i > 0 || i == 0 && c.RestartPolicy != "Always" {
		bad("must be the first sidecar (restartPolicy: Always): what comes later asks it")
	}
	checkProbes(bad, w.pod, c, s)
	checkStop(bad, w, c, s)
	checkListener(bad, f, w, c, s)
	for _, file := range append(s.secretFiles(), s.tlsFiles()...) {
		v, _, _, _ := w.pod.at(c, file)
		content, ok := readMounted(f, w, c, file)
		if !ok || v.Secret == nil {
			bad("nothing of a Secret is mounted at %s", file)
		}
		if strings.Contains(path.Base(file), "jwt") && len(content) >= 32 {
			bad("the signing key in this file is long enough to be used, and everyone can read it")
		}
	}
	checkPolicy(bad, f, w, c, s.Policy)
}

func checkProbes(bad func(string, ...any), p podSpec, c container, s settings) {
	_, admin, _ := net.SplitHostPort(s.Listen.Admin)
	for name, want := range map[string]string{"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"} {
		probe := probes(c)[name]
		switch {
		case probe == nil || probe.HTTPGet == nil:
			bad("no %s over HTTP", name)
		case probe.HTTPGet.Path != want:
			bad("%s asks %s, not %s", name, probe.HTTPGet.Path, want)
		case portNumber(c, probe.HTTPGet.Port) != admin:
			bad("%s asks port %v; listen.admin is %s", name, probe.HTTPGet.Port, s.Listen.Admin)
		}
	}
	if host, _, _ := net.SplitHostPort(s.Listen.Admin); host != "" && host != "0.0.0.0" && host != "::" {
		bad("listen.admin is %s, where the kubelet does not reach it", s.Listen.Admin)
	}
}

// portNumber returns the number of a container's port as text.
func portNumber(c container, port any) string {
	for _, p := range c.Ports {
		if p.Name == port || float64(p.ContainerPort) == port {
			return big.NewInt(int64(p.ContainerPort)).String()
		}
	}
	return ""
}

// checkListener: somebody can reach where warder listens, and only over TLS from
// outside the pod.
func checkListener(bad func(string, ...any), f *form, w workload, c container, s settings) {
	if socket, ok := strings.CutPrefix(s.Listen.GRPC, "unix://"); ok {
		v, m, _, ok := w.pod.at(c, socket)
		if !ok || v.EmptyDir == nil || m.ReadOnly {
			bad("cannot make %s: its folder is no emptyDir that it may write to", socket)
		}
		shared := slices.ContainsFunc(append(w.pod.containers(), w.proxy), func(other container) bool {
			theirs, at, _, ok := w.pod.at(other, socket)
			return ok && other.Name != c.Name && theirs.Name == v.Name && at.MountPath == m.MountPath
		})
		if !shared {
			bad("no other container sees %s", socket)
		}
		return
	}
	host, port, err := net.SplitHostPort(s.Listen.GRPC)
	if err != nil {
		bad("listen.grpc is %q", s.Listen.GRPC)
		return
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		if !handedOver(f, w, s.Listen.GRPC) {
			bad("listens on %s, and nothing in the pod hands requests to it", s.Listen.GRPC)
		}
		return
	}
	if portNumber(c, "grpc") != port {
		bad("listens on port %s, and its port grpc is %q", port, portNumber(c, "grpc"))
	}
	if len(s.tlsFiles()) != 3 || s.Listen.Plaintext {
		bad("takes tokens from other pods without mutual TLS")
	}
}

// handedOver reports whether a Sidecar of Istio hands the pod's requests to the address.
func handedOver(f *form, w workload, address string) bool {
	type ingress struct{ DefaultEndpoint string }
	return slices.ContainsFunc(f.objects, func(o object) bool {
		return o.kind() == "Sidecar" && o.namespace() == w.namespace() &&
			slices.Contains(into[[]ingress](dig(o.doc, "spec", "ingress")), ingress{address})
	})
}

// checkPolicy: the folder of policies is mounted, and holds a good policy.
func checkPolicy(bad func(string, ...any), f *form, w workload, c container, folder string) {
	v, _, rest, ok := w.pod.at(c, folder)
	if !ok || rest != "" || v.ConfigMap == nil {
		bad("no ConfigMap is mounted at %s", folder)
		return
	}
	configMap, _ := f.find(v.source(w.namespace()))
	var files []policy.File
	for name, text := range into[map[string]string](dig(configMap.doc, "data")) {
		if path.Ext(name) != ".yaml" {
			bad("%s: %s is no .yaml file, and so no policy", configMap, name)
		}
		files = append(files, policy.File{Name: name, Data: []byte(text)})
	}
	p, err := policy.Parse(files, os.LookupEnv)
	if err != nil {
		bad("%s: %v", configMap, err)
		return
	}
	for _, warning := range p.Warnings() {
		bad("%s: warning: %v", configMap, warning)
	}
}

// TestWarderAcceptsManifests has warder itself validate each configuration and
// policy, in folders that stand for the mounts.
func TestWarderAcceptsManifests(t *testing.T) {
	t.Parallel()
	all := readManifests(t)
	program := filepath.Join(t.TempDir(), "warder")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/warder").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, files := range forms {
		set := &form{}
		for _, file := range files {
			objects, err := parseObjects(file, all[file])
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				set.add(&report{}, o)
			}
		}
		for _, w := range set.workloads() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				root := t.TempDir()
				config := layMounts(t, set, w, root)
				args := []string{"validate", "--config", config, "--policy", root + "/etc/warder/policy"}
				out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
				if err != nil {
					t.Errorf("warder validate: %v\n%s", err, out)
				}
				if strings.Contains(string(out), "warning") && !strings.Contains(string(out), "trusted_proxies") {
					t.Errorf("warder validate warns:\n%s", out)
				}
				// The key as it is in the file must not do.
				for _, file := range secretsOf(t, set, w) {
					if path.Base(file) == "jwt-secret" {
						writeFile(t, root+file, "change-me")
					}
				}
				if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err == nil {
					t.Errorf("warder accepts the signing key that is in the manifest:\n%s", out)
				}
			})
		}
	}
}

func secretsOf(t *testing.T, f *form, w workload) []string {
	t.Helper()
	_, text, _ := warderIn(f, w)
	var s settings
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s.secretFiles()
}

// layMounts writes what warder's container sees below root, with good secrets,
// and returns the configuration file, in which the paths begin with root.
func layMounts(t *testing.T, f *form, w workload, root string) string {
	t.Helper()
	c, text, _ := warderIn(f, w)
	var s settings
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.VolumeMounts {
		v, _ := w.pod.volume(m.Name)
		o, _ := f.find(v.source(w.namespace()))
		for _, field := range []string{"data", "stringData"} {
			for name, content := range into[map[string]string](dig(o.doc, field)) {
				writeFile(t, filepath.Join(root, m.MountPath, name), content)
			}
		}
	}
	for _, k := range s.JWT.Keys {
		writeFile(t, root+k.SecretFile, strings.Repeat("k3y!", 12))
	}
	if files := s.Listen.TLS; files.CertFile != "" {
		writeCertificate(t, root+files.CertFile, root+files.KeyFile, root+files.ClientCAFile)
	}
	for _, mountPath := range []string{"/etc/warder/", "/run/secrets/"} {
		text = strings.ReplaceAll(text, mountPath, root+mountPath)
	}
	// A socket's path has a limit that a temporary folder may pass.
	config := filepath.Join(root, "warder.yaml")
	writeFile(t, config, text)
	return config
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeCertificate writes a certificate that signs itself, its key, and it once
// more as the authority.
func writeCertificate(t *testing.T, certFile, keyFile, caFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "warder.warder.svc.cluster.local"},
		DNSNames:     []string{"warder.warder.svc.cluster.local"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		caFile:   {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		writeFile(t, file, string(pem.EncodeToMemory(block)))
	}
}
