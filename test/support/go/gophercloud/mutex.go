//go:build mutexkv

package main

import (
	"github.com/gophercloud/utils/terraform/auth"
	"github.com/gophercloud/utils/terraform/mutexkv"
)

// Newer versions of the package leave its locks to its user.
func prepare(config *auth.Config) {
	config.MutexKV = mutexkv.NewMutexKV()
}
