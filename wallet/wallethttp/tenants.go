package wallethttp

import (
	"slices"

	"maru.example/money"
	"maru.example/wallet"
)

func (s *server) totals(q query) (*reply, error) {
	// The totals of a tenant that does not exist would look like those of an
	// empty one.
	tenants, err := s.wallet.Tenants(q.Context())
	if err != nil {
		return nil, err
	}
	if !slices.Contains(tenants, q.tenant) {
		return nil, refusal(wallet.UnknownTenant)
	}
	totals, settled, err := s.wallet.Totals(q.Context(), q.tenant)
	if err != nil {
		return nil, err
	}
	answer := totalsAnswer{Settled: settled, Totals: make([]totalAnswer, len(totals))}
	for i, t := range totals {
		answer.Totals[i] = totalAnswer{
			Currency: q.currency(t.Currency),
			Balances: t.Balances,
			Sum:      sum(money.FormatSum(t.Sum, t.Currency)),
			InFlight: sum(money.FormatSum(t.InFlight, t.Currency)),
			Issued:   sum(money.FormatSum(t.Issued, t.Currency)),
		}
	}
	return jsonReply(answer), nil
}

func (s *server) tenants(q query) (*reply, error) {
	tenants, err := s.wallet.Tenants(q.Context())
	if err != nil {
		return nil, err
	}
	answer := tenantsAnswer{Tenants: make([]tenantName, len(tenants))}
	for i, t := range tenants {
		answer.Tenants[i] = tenantName(t)
	}
	return jsonReply(answer), nil
}

func (s *server) createTenant(q query) (*reply, error) {
	var name string
	err := readBody(q.Request, MaxBodyBytes, func(d *decoder) {
		if d.object([]member{{name: "name", value: &name}}) {
			d.check("name", wallet.Tenant(name).Validate())
		}
	})
	if err != nil {
		return nil, err
	}
	code, err := s.wallet.CreateTenant(q.Context(), wallet.Tenant(name))
	if err != nil {
		return nil, err
	}
	if code != wallet.Applied {
		return nil, refusal(code)
	}
	return jsonReply(tenantAnswer{tenantName(name)}), nil
}
