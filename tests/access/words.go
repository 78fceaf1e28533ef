package main

import (
	"strconv"
	"time"
)

type word struct {
	// strconv.ParseBool, strconv.Atoi, pflag's integers, time.ParseDuration; null where Go refuses.
	Bool     *bool  `json:"bool"`
	Decimal  *int64 `json:"decimal"`
	Integer  *int64 `json:"integer"`
	Duration *int64 `json:"duration"`
}

func words(texts []string) []word {
	all := []word{}
	for _, text := range texts {
		var one word
		if value, err := strconv.ParseBool(text); err == nil {
			one.Bool = &value
		}
		if value, err := strconv.Atoi(text); err == nil {
			wide := int64(value)
			one.Decimal = &wide
		}
		if value, err := strconv.ParseInt(text, 0, 64); err == nil {
			one.Integer = &value
		}
		if value, err := time.ParseDuration(text); err == nil {
			wide := int64(value)
			one.Duration = &wide
		}
		all = append(all, one)
	}
	return all
}
