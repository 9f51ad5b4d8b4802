package wallethttp

import "maru.example/wallet"

// personal reads an item whose text is the member with a name.
func (d *decoder) personal(item wallet.PersonalItem, text string) (p wallet.PersonalData) {
	given := map[string]*string{}
	if !d.object([]member{{name: text, value: &p.Text, optional: true}, d.personalMetadata(given, false)}) {
		return p
	}
	if len(given) > 0 {
		p.Metadata = make(map[string]string, len(given))
	}
	for key, value := range given {
		p.Metadata[key] = *value
	}
	d.check("", p.Validate(item))
	return p
}

// personalChange reads a change of a profile.
func (d *decoder) personalChange() (c wallet.PersonalChange) {
	c.Metadata = map[string]*string{}
	d.object([]member{{name: "name", optional: true, object: func(d *decoder) { c.Text = d.plainString("") }}, d.personalMetadata(c.Metadata, true)})
	return c
}

// personalMetadata is a member that is an object of strings, or nulls, with any names.
func (d *decoder) personalMetadata(to map[string]*string, nulls bool) member {
	return member{name: "metadata", optional: true, object: func(d *decoder) {
		d.anyMembers(func(name string) {
			if nulls && d.text[d.pos] == 'n' {
				d.skip()
				to[name] = nil
				return
			}
			to[name] = d.plainString(name)
		})
	}}
}

// plainString reads a string, which may be empty, as a member's value.
func (d *decoder) plainString(name string) *string {
	if d.text[d.pos] != '"' {
		d.fail(name, "must be a string, not "+d.kind())
		d.skip()
		return new(string)
	}
	s := d.string()
	return &s
}
