package money

import "strings"

// codesByDigits is ISO 4217 table A.1, the currencies and funds in use on
// 2026-01-01, by the number of decimal places ("minor unit") that it gives
// them. CLDR, and so golang.org/x/text/currency, has the number that is customary
// in print, which is smaller for over twenty of them.
//
// Codes that have no minor unit are left out, as their amounts cannot be
// counted: precious metals (XAG, XAU, XPD, XPT), bond market units (XBA, XBB,
// XBC, XBD), units of account (XDR, XSU, XUA), testing (XTS) and no currency at
// all ("XXX").
//
// Codes are added and never removed: a currency that is withdrawn stays, as
// there are accounts that hold it.
var codesByDigits = [...]string{
	0: `BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF`,
	2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD
		BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP
		DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
		IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
		MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
		NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
		SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD
		USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG`,
	3: `BHD IQD JOD KWD LYD OMR TND`,
	4: `CLF UYW`,
}

// digits holds for each currency its decimal places plus 1; 0 is no currency.
var digits = func() (table [1 << 15]uint8) {
	for n, codes := range codesByDigits {
		for code := range strings.FieldsSeq(codes) {
			table[pack(code)] = uint8(n) + 1
		}
	}
	return table
}()
