package protocol

// The places in the first file system of a helper domain, in which the probe is /init.
const (
	ModulesDir = "/modules" // kernel modules, to be loaded in the order of their names
	IndexDir   = "/index"   // an index of files, which goes to [Dir]
)

// What the first process of a helper domain is asked, beside `facts` and `version`.
const (
	AskOpened = "opened" // prints [Opened]
	AskRun    = "run"    // --timeout DURATION LINE: runs a line of shell in the opened system; exits with its code
	AskOff    = "off"    // writes everything back and turns the domain off, after the answer
)

// Opened is what became of the disk that a helper domain was given.
type Opened struct {
	Root     string   `json:"root"`     // the device with the root file system, "" if none was found
	Mounted  []string `json:"mounted"`  // where the others are that could be mounted, sorted
	Problems []string `json:"problems"` // why others could not, and what else went wrong
}

// MaxOutput bounds each of the two outputs of a line that is run, in bytes. What is beyond is cut off.
const MaxOutput = 16 << 20

// OutputCut is the line on standard error after which nobody should believe that the output is whole.
const OutputCut = ErrorPrefix + "the output was cut off"
