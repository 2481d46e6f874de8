// The Terraform provider for OpenStack, as its own main.go serves it. The registry that Terraform
// would fetch it from isn't needed: the tests build it from the Go module proxy.
package main

import (
	"github.com/hashicorp/terraform-plugin-sdk/v2/plugin"
	"github.com/terraform-provider-openstack/terraform-provider-openstack/v3/openstack"
)

func main() {
	plugin.Serve(&plugin.ServeOpts{
		ProviderAddr: "registry.terraform.io/terraform-provider-openstack/openstack",
		ProviderFunc: openstack.Provider,
	})
}
