//go:build pod

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A node is a control plane with one node, on which pods run.
type node struct {
	*controlPlane
	kubeconfig string
	runtime    cri.RuntimeServiceClient
}

// syncFrequency is how often the kubelet looks at mounted ConfigMaps. The default is a minute.
const syncFrequency = "2s"

// startNode starts everything, gives the runtime the images, and returns when the node is ready.
func startNode(t *testing.T, images ...string) *node {
	t.Helper()
	dir := os.Getenv(stateVariable)
	socket := startContainerd(t, dir, images)

	cp := startControlPlane(t, dir, nodeAddress, "--kubelet-preferred-address-types=InternalIP")
	n := &node{controlPlane: cp, kubeconfig: filepath.Join(dir, "kubeconfig")}
	n.writeKubeconfig(t)
	program := tool(t, "node-*")
	ports := freePorts(t, 2)
	startProcess(t, dir, "controller-manager", program, "kube-controller-manager",
		"--kubeconfig="+n.kubeconfig, "--controllers=*,-node-ipam-controller", "--leader-elect=false",
		"--service-account-private-key-file="+filepath.Join(dir, "sa.key"),
		"--bind-address=127.0.0.1", "--secure-port="+ports[0], "--cert-dir="+filepath.Join(dir, "controller-manager"))
	startProcess(t, dir, "scheduler", program, "kube-scheduler",
		"--kubeconfig="+n.kubeconfig, "--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port="+ports[1], "--cert-dir="+filepath.Join(dir, "scheduler"))

	config := filepath.Join(dir, "kubelet.yaml")
	writeFile(t, config, kubeletConfig(socket, dir))
	writeFile(t, filepath.Join(dir, "resolv.conf"), "nameserver "+nodeAddress+"\n")
	kubelet := startProcess(t, dir, "kubelet", program, "kubelet",
		"--config="+config, "--kubeconfig="+n.kubeconfig, "--hostname-override=node", "--node-ip="+nodeAddress,
		"--root-dir="+filepath.Join(dir, "kubelet"), "--cert-dir="+filepath.Join(dir, "kubelet-certs"))
	kubelet.await(t, func(ctx context.Context) error {
		got, err := cp.kube.CoreV1().Nodes().Get(ctx, "node", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return errors.New("the node is not ready")
	})

	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n.runtime = cri.NewRuntimeServiceClient(conn)
	return n
}

// writeKubeconfig writes the file with which helm and the parts of the node find the server.
func (n *node) writeKubeconfig(t testing.TB) {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["t"] = &clientcmdapi.Cluster{Server: n.url, CertificateAuthority: n.config.CAFile}
	config.AuthInfos["t"] = &clientcmdapi.AuthInfo{Token: n.config.BearerToken}
	config.Contexts["t"] = &clientcmdapi.Context{Cluster: "t", AuthInfo: "t"}
	config.CurrentContext = "t"
	if err := clientcmd.WriteToFile(*config, n.kubeconfig); err != nil {
		t.Fatal(err)
	}
}

// startContainerd starts the runtime, imports the images and returns its socket.
func startContainerd(t *testing.T, dir string, images []string) string {
	t.Helper()
	plugins := ""
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			plugins = folder
		}
	}
	if plugins == "" {
		t.Fatal("no network plugin ptp found; run the tests with make pod-test")
	}
	home := filepath.Join(dir, "containerd")
	socket := filepath.Join(home, "containerd.sock")
	writeFile(t, filepath.Join(home, "cni", "10-ptp.conflist"), fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`, filepath.Join(home, "addresses")))
	config := filepath.Join(home, "config.toml")
	writeFile(t, config, fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`, filepath.Join(home, "root"), filepath.Join(home, "state"), socket, pauseImage, plugins, filepath.Join(home, "cni")))
	path, err := exec.LookPath("containerd")
	if err != nil {
		t.Fatalf("%v; run the tests with make pod-test", err)
	}
	server := startProcess(t, dir, "containerd", path, "--config", config)
	ctr := func(ctx context.Context, args ...string) error {
		out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ctr %q: %w\n%s", args, err, out)
		}
		return nil
	}
	server.await(t, func(ctx context.Context) error { return ctr(ctx, "version") })
	for _, image := range images {
		if err := ctr(t.Context(), "images", "import", image); err != nil {
			t.Fatal(err)
		}
	}
	return socket
}

// kubeletConfig is the kubelet's configuration: what is not about this machine is the default,
// but for the time in which a change of a ConfigMap is seen.
func kubeletConfig(socket, dir string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
port: 10250
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://%s
resolvConf: %s
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
featureGates: {KubeletInUserNamespace: true}
evictionHard: {nodefs.available: "0%%", imagefs.available: "0%%", memory.available: 100Mi}
imageGCHighThresholdPercent: 100
syncFrequency: %s
seccompDefault: true
`, socket, filepath.Join(dir, "resolv.conf"), syncFrequency)
}

// containers returns the runtime's view of a pod's containers by name, the newest of each name.
func (n *node) containers(ctx context.Context, uid string) (map[string]*cri.ContainerStatus, error) {
	list, err := n.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{
		LabelSelector: map[string]string{"io.kubernetes.pod.uid": uid},
	}})
	if err != nil {
		return nil, err
	}
	all := map[string]*cri.ContainerStatus{}
	for _, c := range list.Containers {
		got, err := n.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.Id})
		if err != nil {
			return nil, err
		}
		if other := all[c.Metadata.Name]; other == nil || other.CreatedAt < got.Status.CreatedAt {
			all[c.Metadata.Name] = got.Status
		}
	}
	return all, nil
}

// process returns the process of a running container.
func (n *node) process(ctx context.Context, container string) (int, error) {
	got, err := n.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container, Verbose: true})
	if err != nil {
		return 0, err
	}
	var info struct{ PID int }
	if err := decode(got.Info["info"], &info); err != nil {
		return 0, err
	}
	if info.PID == 0 {
		return 0, fmt.Errorf("container %s has no process: %v", container, got.Info)
	}
	return info.PID, nil
}
