package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is where lines of the help text end: on the smallest terminal.
const helpWidth = 80

// flagGroup is flags that belong together in a help text.
type flagGroup struct {
	title string
	names []string
}

// The groups of flags that several commands have.
func tuningGroup() flagGroup {
	return flagGroup{"Device and pace", []string{"device", "numa", "concurrency", "memory-limit", "part-size", "model-loader-extra-config"}}
}

func filesGroup() flagGroup { return flagGroup{"Which files", []string{"rank", "pattern"}} }

func s3Group() flagGroup {
	return flagGroup{"How to reach a bucket", []string{
		"endpoint-url", "region", "profile", "ca-bundle", "force-path-style", "no-sign-request", "requester-pays", "read-timeout",
		"cache-url", "cache-header", "cache-direct-rate"}}
}

// flagExamples has an example of each flag but --help.
func flagExamples() map[string]string {
	return map[string]string{
		"device":                    "--device cuda:1",
		"numa":                      "--numa off",
		"concurrency":               "--concurrency 32",
		"memory-limit":              "--memory-limit 5Gi",
		"part-size":                 "--part-size 16MiB",
		"model-loader-extra-config": `--model-loader-extra-config '{"concurrency":16,"memory_limit":5368709120}'`,
		"rank":                      "--rank 3",
		"pattern":                   "--pattern 'custom-model-rank-{rank}-part-{part}.safetensors'",
		"endpoint-url":              "--endpoint-url https://storage.googleapis.com",
		"region":                    "--region eu-central-1",
		"profile":                   "--profile training",
		"ca-bundle":                 "--ca-bundle /etc/ssl/private-ca.pem",
		"force-path-style":          "--force-path-style",
		"read-timeout":              "--read-timeout 1m",
		"cache-url":                 "--cache-url http://cache-0:8081,http://cache-1:8081",
		"cache-header":              "--cache-header X-Team=research",
		"cache-direct-rate":         "--cache-direct-rate 500M",
		"no-sign-request":           "--no-sign-request",
		"requester-pays":            "--requester-pays",
		"verify":                    "--verify",
		"manifest":                  "--manifest llama.manifest",
		"expect":                    "--expect llama.manifest",
		"hash":                      "--hash xxh3",
		"json":                      "--json",
		"progress":                  "--progress plain",
		"log-level":                 "--log-level debug",
		"sweep":                     "--sweep 8,16,32,64",
		"store":                     "--store s3://core-llm/Llama-3-8b",
		"plot":                      "--plot bench.svg",
	}
}

// explain gives cmd a help text in which each flag is explained, with an
// example. What is in no group goes last.
func explain(cmd *cobra.Command, groups ...flagGroup) {
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		var b strings.Builder
		fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
		if cmd.HasExample() {
			fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
		}
		rest := flagGroup{title: "Other"}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !slices.ContainsFunc(groups, func(g flagGroup) bool { return slices.Contains(g.names, f.Name) }) {
				rest.names = append(rest.names, f.Name)
			}
		})
		for _, group := range append(slices.Clone(groups), rest) {
			fmt.Fprintf(&b, "\n%s:\n", group.title)
			for _, name := range group.names {
				explainFlag(&b, cmd.Flags().Lookup(name))
			}
		}
		_, err := io.WriteString(cmd.OutOrStderr(), b.String())
		return err
	})
}

// explainFlag writes a flag's name, its explanation, and its example.
func explainFlag(b *strings.Builder, f *pflag.Flag) {
	value, text := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	if f.NoOptDefVal == "" {
		name += " " + value
	}
	text, variable, bound := strings.Cut(text, " [$")
	if !slices.Contains([]string{"", "0", "false", "[]"}, f.DefValue) {
		text += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	fmt.Fprintf(b, "  %s\n", name)
	for _, line := range wrap(text, helpWidth-6) {
		fmt.Fprintf(b, "      %s\n", line)
	}
	if example, ok := flagExamples()[f.Name]; ok {
		fmt.Fprintf(b, "      Example: %s\n", example)
	}
	if bound {
		fmt.Fprintf(b, "      Variable: %s\n", strings.TrimSuffix(variable, "]"))
	}
}

// wrap breaks text at spaces into lines of at most width bytes, where words let
// it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
