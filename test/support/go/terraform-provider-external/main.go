// A provider with the data source "external", as HashiCorp's: it runs a program, gives it the query
// as JSON and reads a map of strings. HashiCorp's own is not in the Go module proxy.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"

	"github.com/hashicorp/terraform-plugin-sdk/v2/diag"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
)

func read(ctx context.Context, data *schema.ResourceData, _ any) diag.Diagnostics {
	var argv []string
	for _, word := range data.Get("program").([]any) {
		argv = append(argv, word.(string))
	}
	query, err := json.Marshal(data.Get("query"))
	if err != nil {
		return diag.FromErr(err)
	}
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdin = bytes.NewReader(query)
	output, err := command.Output()
	if failed, ok := err.(*exec.ExitError); ok {
		return diag.Errorf("%s: %s: %s", argv[0], err, failed.Stderr)
	} else if err != nil {
		return diag.FromErr(err)
	}
	var result map[string]string
	if err := json.Unmarshal(output, &result); err != nil {
		return diag.Errorf("%s: %s", argv[0], err)
	}
	data.SetId("-")
	return diag.FromErr(data.Set("result", result))
}

func main() {
	text := &schema.Schema{Type: schema.TypeString}
	source := &schema.Resource{
		ReadContext: read,
		Schema: map[string]*schema.Schema{
			"program": {Type: schema.TypeList, Required: true, MinItems: 1, Elem: text},
			"query":   {Type: schema.TypeMap, Optional: true, Elem: text},
			"result":  {Type: schema.TypeMap, Computed: true, Elem: text},
		},
	}
	plugin.Serve(&plugin.ServeOpts{
		ProviderAddr: "registry.terraform.io/hashicorp/external",
		ProviderFunc: func() *schema.Provider {
			return &schema.Provider{DataSourcesMap: map[string]*schema.Resource{"external": source}}
		},
	})
}
