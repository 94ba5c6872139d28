package report

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Marshal renders the result as result.json: the same result gives the same bytes.
func Marshal(result Result) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // "->" and "<" are read by people, too
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil {
		return nil, fmt.Errorf("rendering the result: %w", err)
	}
	return b.Bytes(), nil
}

// Unmarshal reads result.json.
func Unmarshal(data []byte) (Result, error) {
	var result Result
	if err := json.Unmarshal(data, &result); err != nil {
		return Result{}, fmt.Errorf("reading a result: %w", err)
	}
	if result.Schema != ResultSchema {
		return Result{}, fmt.Errorf("reading a result: its schema is %d, this patchlab reads %d", result.Schema, ResultSchema)
	}
	return result, nil
}
