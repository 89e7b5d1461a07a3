// Node is the rest of a small Kubernetes cluster in one program, for the tests
// that run pods: the controller manager, the scheduler and the kubelet, as
// subcommands.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	root := &cobra.Command{Use: "node", Short: "the controller manager, the scheduler and the kubelet of Kubernetes"}
	root.AddCommand(
		controllermanager.NewControllerManagerCommand(),
		scheduler.NewSchedulerCommand(),
		kubelet.NewKubeletCommand(context.Background()), // each handles signals itself
	)
	os.Exit(cli.Run(root))
}
