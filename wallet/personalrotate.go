package wallet

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// rotatePage is how many keys are sealed anew in one transaction.
const rotatePage = 256

// RotatePersonal seals the keys of all accounts under another master key, and returns how many. What was copied
// before is of no use to who has the new one only. First it marks the store, so that whoever still has the
// former key reads and writes nothing more. If it is interrupted, it goes on when it is called again with both keys; until
// then some keys cannot be opened. A store that is marked with neither is refused with ErrMasterKey.
func RotatePersonal(ctx context.Context, store PersonalStore, from, to MasterKey, random io.Reader) (rotated int, err error) {
	r := rotation{store, sealer{from, random}, sealer{to, random}}
	if _, err := r.run(ctx, func(ctx context.Context, tx PersonalTx) ([]OwnedKey, error) {
		mark, err := tx.Key(ctx, PersonalOwner{})
		return []OwnedKey{{PersonalKey: mark}}, err
	}); err != nil {
		if errors.Is(err, ErrPersonalDamaged) {
			err = ErrMasterKey
		}
		return 0, err
	}
	var after PersonalOwner
	for {
		var last PersonalOwner
		n, err := r.run(ctx, func(ctx context.Context, tx PersonalTx) ([]OwnedKey, error) {
			page, err := tx.Keys(ctx, after, rotatePage)
			if len(page) > 0 {
				last = page[len(page)-1].PersonalOwner
			}
			return page, err
		})
		if err != nil {
			return rotated, err
		}
		rotated += n
		if last == (PersonalOwner{}) {
			return rotated, store.ScrubPersonal(ctx)
		}
		after = last
	}
}

// A rotation is from one master key to another.
type rotation struct {
	store    PersonalStore
	from, to sealer
}

// run seals the keys that are under the former master key anew, in one transaction.
func (r *rotation) run(ctx context.Context, list func(ctx context.Context, tx PersonalTx) ([]OwnedKey, error)) (rotated int, err error) {
	err = r.store.UpdatePersonal(ctx, func(ctx context.Context, tx PersonalTx) error {
		rotated = 0
		keys, err := list(ctx, tx)
		if err != nil {
			return err
		}
		for i := range keys {
			k := &keys[i]
			if _, err := r.to.openKey(k.PersonalOwner, k.Sealed); err == nil || k.Erased != nil {
				continue
			}
			opened, err := r.from.openKey(k.PersonalOwner, k.Sealed)
			if err != nil {
				return err
			}
			k.Sealed = r.to.key(k.PersonalOwner, opened)
			if err := tx.PutKey(ctx, k.PersonalOwner, &k.PersonalKey); err != nil {
				return err
			}
			rotated++
		}
		return nil
	})
	return rotated, err
}

// checkMark returns ErrMasterKey if the store was marked with another master key since it was opened.
func (p *Personal) checkMark(ctx context.Context, tx PersonalTx) error {
	mark, err := tx.Key(ctx, PersonalOwner{})
	if err == nil && !bytes.Equal(mark.Sealed, p.mark) {
		err = ErrMasterKey
	}
	return err
}
