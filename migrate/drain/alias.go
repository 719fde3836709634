package drain

import "github.com/vmferry/vmferry/migrate/predict"

// What a plan is made from: see package predict.
type (
	Load       = predict.Load
	Prediction = predict.Prediction
	Need       = predict.Need
)
