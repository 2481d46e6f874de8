// Reaches a cloud as Terraform's OpenStack provider does: through the provider's own configuration
// package, which reads clouds.yaml, builds the HTTP transport and authenticates, and then with the
// service clients that its resources use. It is the provider's client library, not Terraform.
//
// usage: gophercloud CLOUD
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/gophercloud/gophercloud/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/openstack/networking/v2/networks"
	"github.com/gophercloud/utils/terraform/auth"
)

func list(cloud string) (map[string]int, error) {
	config := auth.Config{
		Cloud:            cloud,
		DelayedAuth:      true,
		AllowReauth:      true,
		TerraformVersion: "1.0.0",
		SDKVersion:       "2.0.0",
	}
	prepare(&config)
	if err := config.LoadAndValidate(); err != nil {
		return nil, err
	}
	compute, err := config.ComputeV2Client("")
	if err != nil {
		return nil, err
	}
	serverPages, err := servers.List(compute, servers.ListOpts{}).AllPages()
	if err != nil {
		return nil, err
	}
	foundServers, err := servers.ExtractServers(serverPages)
	if err != nil {
		return nil, err
	}
	network, err := config.NetworkingV2Client("")
	if err != nil {
		return nil, err
	}
	networkPages, err := networks.List(network, networks.ListOpts{}).AllPages()
	if err != nil {
		return nil, err
	}
	foundNetworks, err := networks.ExtractNetworks(networkPages)
	if err != nil {
		return nil, err
	}
	return map[string]int{"servers": len(foundServers), "networks": len(foundNetworks)}, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gophercloud CLOUD")
		os.Exit(2)
	}
	found, err := list(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(found)
}
