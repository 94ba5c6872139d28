package bench

// Images are the figures of builds of one image.
type Images struct {
	Schema int         `json:"schema"`
	Bench  string      `json:"bench"` // image
	Name   string      `json:"name"`
	Runs   int         `json:"runs"`
	Image  ImageStages `json:"image"`
	// TranslationCacheMiB is the bound of QEMU's cache of translated code; 0 where nothing is translated.
	TranslationCacheMiB int       `json:"translation_cache_mib,omitempty"`
	Accelerator         string    `json:"accelerator"`
	BusyCPUs            []float64 `json:"busy_cpus"` // of the host, before each build
}

// ImageStages are a whole build and what it consists of.
type ImageStages struct {
	Build  *Seconds            `json:"build"`
	Stages map[string]*Seconds `json:"stages"` // root file system, disk, boot loader, check, store
}

// ImageBuild is one build as it was measured, in seconds.
type ImageBuild struct {
	Seconds float64
	Stages  map[string]float64
	Busy    float64 // CPUs that other work kept busy before
}

// SumImages sums up builds of an image.
func SumImages(name string, builds []ImageBuild) Images {
	i := Images{Schema: Schema, Bench: "image", Name: name, Runs: len(builds), BusyCPUs: []float64{}}
	var whole []float64
	stages := map[string][]float64{}
	for _, b := range builds {
		whole = append(whole, b.Seconds)
		i.BusyCPUs = append(i.BusyCPUs, hundredths(b.Busy))
		for stage, took := range b.Stages {
			stages[stage] = append(stages[stage], took)
		}
	}
	i.Image = ImageStages{Build: seconds(whole), Stages: map[string]*Seconds{}}
	for stage, times := range stages {
		i.Image.Stages[stage] = seconds(times)
	}
	return i
}
