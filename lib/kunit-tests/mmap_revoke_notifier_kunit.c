// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the subscribers: who hears what of an object, and when.
 */
#include "mmap_revoke_kunit.h"

struct mr_sub {
	struct mmap_revoke_notifier nb;
	char id;
	/* Each call appends the subscriber and the event. */
	char *log;
	void (*act)(struct mr_sub *sub, struct mmap_revoke *mr,
		    enum mmap_revoke_event event);
	struct mr_sub *other;
	struct completion entered, leave;
};

static void sub_notify(struct mmap_revoke_notifier *nb,
		       struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_sub *sub = container_of(nb, struct mr_sub, nb);
	char entry[] = { sub->id, "BEK"[event], '\0' };

	strlcat(sub->log, entry, LOG_SIZE);
	if (sub->act)
		sub->act(sub, mr, event);
}

static struct mr_sub *new_sub(struct kunit *test, char id, char *log)
{
	struct mr_sub *sub = kunit_kzalloc(test, sizeof(*sub), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sub);
	sub->nb.notify = sub_notify;
	sub->id = id;
	sub->log = log;
	init_completion(&sub->entered);
	init_completion(&sub->leave);
	return sub;
}

static void act_block(struct mr_sub *sub, struct mmap_revoke *mr,
		      enum mmap_revoke_event event)
{
	complete(&sub->entered);
	wait_for_completion(&sub->leave);
}

static void act_leave_and_free(struct mr_sub *sub, struct mmap_revoke *mr,
			       enum mmap_revoke_event event)
{
	mmap_revoke_unregister_notifier(mr, &sub->nb);
	kfree(sub);
}

static void act_remove_other(struct mr_sub *sub, struct mmap_revoke *mr,
			     enum mmap_revoke_event event)
{
	mmap_revoke_unregister_notifier(mr, &sub->other->nb);
	sub->act = NULL;
}

static void act_add_other(struct mr_sub *sub, struct mmap_revoke *mr,
			  enum mmap_revoke_event event)
{
	mmap_revoke_register_notifier(mr, &sub->other->nb);
	sub->act = NULL;
}

static void unregister_fn(struct mr_thread *th)
{
	mmap_revoke_unregister_notifier(th->mr, th->arg);
}

static void notify_order(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);

	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	mmap_revoke_end(mr);
	mmap_revoke_zap(mr, 0, 1);
	KUNIT_EXPECT_STREQ(test, log, "");
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcB");
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcB");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_end(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBaBcBbEcE");

	log[0] = '\0';
	mmap_revoke_begin(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBcBbKcK");
	mmap_revoke_kill(mr);
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBcBbKcK");
	log[0] = '\0';
	mmap_revoke_unregister_notifier(mr, &b->nb);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "cK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

struct mr_peek {
	struct mmap_revoke_notifier nb;
	struct follow_pfnmap_args args;
	bool live, mapped;
};

static void peek_notify(struct mmap_revoke_notifier *nb,
			struct mmap_revoke *mr, enum mmap_revoke_event event)
{
	struct mr_peek *peek = container_of(nb, struct mr_peek, nb);

	peek->live = is_live(mr);
	/* A subscriber must not take mmap_lock; this one need not. */
	i_mmap_lock_read(mmap_revoke_mapping(mr));
	peek->mapped = !follow_pfnmap_start(&peek->args);
	if (peek->mapped)
		follow_pfnmap_end(&peek->args);
	i_mmap_unlock_read(mmap_revoke_mapping(mr));
}

/* After the state has changed, before the page tables have. */
static void notify_moment(struct kunit *test)
{
	struct mmap_revoke *mr = new_bound(test, &mr_ops);
	struct mr_test *t = test->priv;
	struct mr_peek peek = { .nb.notify = peek_notify };

	map(t->file[0], ADDR, 1, 0);
	mmap_read_lock(current->mm);
	peek.args.vma = vma_lookup(current->mm, ADDR);
	mmap_read_unlock(current->mm);
	peek.args.address = ADDR;
	mmap_revoke_register_notifier(mr, &peek.nb);

	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_FALSE(test, peek.live);
	KUNIT_EXPECT_TRUE(test, peek.mapped);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_TRUE(test, peek.live);
	KUNIT_EXPECT_FALSE(test, peek.mapped);
	KUNIT_EXPECT_TRUE(test, reads(ADDR, 1, 0));
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_FALSE(test, peek.live);
	KUNIT_EXPECT_TRUE(test, peek.mapped);
	KUNIT_EXPECT_EQ(test, mapped(current->mm, ADDR, 1), 0);
	mmap_revoke_unregister_notifier(mr, &peek.nb);
}

static void notify_join_in_callback(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);

	a->act = act_add_other;
	a->other = b;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_begin(mr);
	/* It may miss this one, but sees the next. */
	log[0] = '\0';
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEbE");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_unregister_notifier(mr, &b->nb);
}

static void act_leave_at_kill(struct mr_sub *sub, struct mmap_revoke *mr,
			      enum mmap_revoke_event event)
{
	if (event == MMAP_REVOKE_KILL)
		mmap_revoke_unregister_notifier(mr, &sub->nb);
}

/* Who leaves at KILL does not hear the next generation, and may leave twice. */
static void notify_generations(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);

	a->act = act_leave_at_kill;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_begin(mr);
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBbBaKbK");
	mmap_revoke_renew(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBbBaKbK");
	log[0] = '\0';
	mmap_revoke_begin(mr);
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "bBbE");
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_unregister_notifier(mr, &b->nb);
}

static void notify_leave_in_callback(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);
	struct mr_sub *gone;

	/* It removes itself, and nobody after it is missed. */
	gone = kmemdup(a, sizeof(*a), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, gone);
	gone->id = 'g';
	gone->act = act_leave_and_free;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &gone->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBgBbBcB");
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBgBbBcBaEbEcE");

	/* The next one is removed before its turn. */
	log[0] = '\0';
	a->act = act_remove_other;
	a->other = b;
	mmap_revoke_begin(mr);
	KUNIT_EXPECT_STREQ(test, log, "aBcB");

	/* One that has had its turn. */
	log[0] = '\0';
	c->act = act_remove_other;
	c->other = a;
	mmap_revoke_end(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEcE");
	mmap_revoke_kill(mr);
	KUNIT_EXPECT_STREQ(test, log, "aEcEcK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

static void notify_is_waited_for(struct kunit *test)
{
	struct mmap_revoke *mr = new_object(test, &mr_ops);
	char log[LOG_SIZE] = "";
	struct mr_sub *a = new_sub(test, 'a', log);
	struct mr_sub *b = new_sub(test, 'b', log);
	struct mr_sub *c = new_sub(test, 'c', log);
	struct mr_thread first = { .mr = mr, .fn = begin_fn };
	struct mr_thread second = { .mr = mr, .fn = begin_fn };
	struct mr_thread third = { .mr = mr, .fn = kill_fn };
	struct mr_thread leaver = { .mr = mr, .fn = unregister_fn };

	leaver.arg = &b->nb;
	b->act = act_block;
	mmap_revoke_register_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &b->nb);
	start(test, &first);
	wait_for_completion(&b->entered);

	/* Neither does begin() return, nor does another, nor kill(). */
	KUNIT_EXPECT_TRUE(test, blocks(&first));
	start(test, &second);
	KUNIT_EXPECT_TRUE(test, blocks(&second));
	start(test, &third);
	KUNIT_EXPECT_TRUE(test, blocks(&third));
	/* The others may join and leave at any time. */
	mmap_revoke_unregister_notifier(mr, &a->nb);
	mmap_revoke_register_notifier(mr, &c->nb);
	start(test, &leaver);
	KUNIT_EXPECT_TRUE(test, blocks(&leaver));
	KUNIT_EXPECT_STREQ(test, log, "aBbB");

	complete_all(&b->leave);
	join(&leaver);
	join(&first);
	join(&second);
	join(&third);
	/* kill() came last, and found only the one who joined. */
	KUNIT_EXPECT_STREQ(test, log, "aBbBcBcK");
	mmap_revoke_unregister_notifier(mr, &c->nb);
}

static struct kunit_case mr_notifier_cases[] = {
	KUNIT_CASE(notify_order),
	KUNIT_CASE(notify_moment),
	KUNIT_CASE(notify_join_in_callback),
	KUNIT_CASE(notify_generations),
	KUNIT_CASE(notify_leave_in_callback),
	KUNIT_CASE(notify_is_waited_for),
	{}
};

MR_SUITE("mmap_revoke_notifier", mr_notifier_cases);

MODULE_DESCRIPTION("KUnit tests of the subscribers of revocable mmap objects");
MODULE_LICENSE("GPL");
