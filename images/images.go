// Package images holds the manifests of the images that patchlab can build, with their files.
package images

import "embed"

// FS has NAME.yaml and NAME/ for each image.
//
//go:embed *.yaml */*
var FS embed.FS
