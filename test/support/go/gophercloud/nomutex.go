//go:build !mutexkv

package main

import "github.com/gophercloud/utils/terraform/auth"

// Older versions of the package have locks of their own.
func prepare(*auth.Config) {}
