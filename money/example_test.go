package money_test

import (
	"errors"
	"fmt"

	"maru.example/money"
)

func Example() {
	usd, err := money.ParseCurrency("USD")
	if err != nil {
		fmt.Println(err)
		return
	}
	price, err := money.ParseAmount("19.90", usd)
	if err != nil {
		fmt.Println(err)
		return
	}
	shipping := money.Amount(510) // cents
	total, ok := price.Add(shipping)
	fmt.Println(total.Format(usd), usd, ok)
	// Output: 25.00 USD true
}

func ExampleParseAmount() {
	usd, jpy := money.MustParseCurrency("USD"), money.MustParseCurrency("JPY")
	fmt.Println(money.ParseAmount("1.5", usd))
	fmt.Println(money.ParseAmount("1500", jpy))

	_, err := money.ParseAmount("1.500", usd)
	fmt.Println(err, errors.Is(err, money.ErrTooPrecise))
	// Output:
	// 150 <nil>
	// 1500 <nil>
	// amount "1.500" in USD: more decimal places than the currency has true
}
