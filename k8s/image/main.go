package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// labels collects the repeatable flag -label.
type labels map[string]string

func (l labels) String() string { return "" }

func (l labels) Set(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" || value == "" {
		return fmt.Errorf("%q is not a label; write one as org.opencontainers.image.source=URL", s)
	}
	l[key] = value
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	own := labels{}
	var (
		source    = flags.String("source", "../..", "`folder` of warder's module")
		out       = flags.String("out", "", "`folder` to write to; what the program wrote there before is replaced")
		ref       = flags.String("name", "warder:latest", "`name` and tag of the image in the archives")
		platforms = flags.String("platforms", "linux/amd64,linux/arm64", "platforms, separated by commas")
	)
	flags.Var(own, "label", "another `label`, such as org.opencontainers.image.source=URL; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() > 0 {
		return fmt.Errorf("usage: image -out FOLDER [-source FOLDER] [-name NAME:TAG] [-platforms OS/ARCH,…] [-label KEY=VALUE]")
	}

	tag, err := name.NewTag(*ref)
	if err == nil && !strings.HasSuffix(*ref, ":"+tag.TagStr()) {
		err = fmt.Errorf("%q has no tag", *ref)
	}
	if err != nil {
		return fmt.Errorf("-name: %w; write NAME:TAG, such as registry.example.com/warder:1.0.0", err)
	}
	var wanted []v1.Platform
	for each := range strings.SplitSeq(*platforms, ",") {
		platform, err := v1.ParsePlatform(each)
		if err != nil || platform.OS != "linux" || platform.Architecture == "" {
			return fmt.Errorf("-platforms: %q is not a platform of Linux; write one as linux/amd64", each)
		}
		wanted = append(wanted, *platform)
	}

	var all []*built
	for _, platform := range wanted {
		one, err := buildImage(ctx, *source, platform, own)
		if err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
		all = append(all, one)
	}
	index, err := indexOf(all)
	if err != nil {
		return err
	}
	return write(*out, tag, index, all, stdout)
}
