"""What must hold of money, refunds and waitlists: queries that find what breaks it (rules 7 to 12).

Each is true at every commit, so each may be looked at while people pay, leave and wait.
"""

from __future__ import annotations

OVERDUE_MS = 60_000
"""Orders that are this long over their time are looked at: the others are too many, and their
batches' deadlines are still to come."""

MONEY: dict[str, str] = {
    "paid_orders_have_their_money": """
        SELECT orders.number FROM orders
        LEFT JOIN payments ON payments.pays_for = orders.number
        WHERE orders.amount_minor > 0 AND orders.state IN ('paid', 'refunding', 'refunded')
          AND (payments.id IS NULL
            OR payments.state NOT IN ('captured', 'refunding', 'refunded')
            OR COALESCE(payments.captured_minor, 0) <> orders.amount_minor
            OR COALESCE(payments.captured_currency, '') <> orders.currency
            OR payments.refunded_minor * orders.quantity
                <> orders.amount_minor * orders.refunded_quantity)""",
    "money_without_an_order_goes_back": """
        SELECT payments.id FROM payments
        JOIN orders ON orders.number = payments.order_number
        WHERE (payments.captured_minor IS NOT NULL AND payments.pays_for IS NULL
                AND payments.state NOT IN ('refunding', 'refunded'))
           OR (payments.pays_for IS NOT NULL
                AND orders.state NOT IN ('paid', 'refunding', 'refunded'))""",
    "captured_minus_refunded": """
        SELECT payments.id FROM payments
        WHERE (payments.state IN ('pending', 'failed', 'void')
                AND payments.captured_minor IS NOT NULL)
           OR (payments.state IN ('captured', 'refunding', 'refunded')
                AND payments.captured_minor IS NULL)
           OR (payments.state = 'refunded'
                AND payments.refunded_minor <> payments.captured_minor)
           OR (payments.state <> 'refunded' AND payments.captured_minor > 0
                AND payments.refunded_minor = payments.captured_minor)""",
    "refunds_are_those_of_payments": """
        SELECT payments.id FROM payments LEFT JOIN (
            SELECT payment_id,
                SUM(CASE WHEN state = 'completed' THEN amount_minor ELSE 0 END) AS done,
                SUM(CASE WHEN closed_at_ms IS NULL THEN amount_minor ELSE 0 END) AS owed,
                SUM(CASE WHEN closed_at_ms IS NULL THEN 1 ELSE 0 END) AS under_way
            FROM refunds GROUP BY payment_id
        ) theirs ON theirs.payment_id = payments.id
        WHERE COALESCE(theirs.done, 0) <> payments.refunded_minor
           OR COALESCE(theirs.under_way, 0)
                <> CASE WHEN payments.state = 'refunding' THEN 1 ELSE 0 END
           OR payments.refunded_minor + COALESCE(theirs.owed, 0)
                > COALESCE(payments.captured_minor, 0)""",
    "refunded_units_are_those_of_refunds": """
        SELECT orders.number FROM orders LEFT JOIN (
            SELECT order_number, SUM(quantity) AS units FROM refunds
            WHERE state = 'completed' GROUP BY order_number
        ) theirs ON theirs.order_number = orders.number
        WHERE orders.refunded_quantity <> COALESCE(theirs.units, 0)
           OR (orders.state = 'refunded' AND orders.refunded_quantity <> orders.quantity)
           OR (orders.state <> 'refunded' AND orders.refunded_quantity = orders.quantity)""",
    "open_payments_have_a_living_order": """
        SELECT payments.id FROM payments
        JOIN orders ON orders.number = payments.order_number
        WHERE (payments.state = 'pending') <> (payments.open_for IS NOT NULL)
           OR (payments.open_for IS NOT NULL AND payments.ask_at_ms IS NULL)
           OR (payments.open_for IS NOT NULL
                AND orders.state IN ('cancelled', 'expired', 'rejected'))""",
    "callbacks_are_of_payments": """
        SELECT inbox.payment_id FROM inbox
        LEFT JOIN payments ON payments.id = inbox.payment_id
        WHERE inbox.applied_at_ms IS NOT NULL AND (payments.id IS NULL
            OR (inbox.kind = 'captured' AND payments.captured_minor IS NULL))""",
    "given_back_once": """
        SELECT orders.number FROM orders
        LEFT JOIN releases ON releases.number = orders.number
        WHERE releases.number IS NULL AND orders.state IN ('cancelled', 'expired')""",
    "returned_units_are_those_of_orders": """
        SELECT items.id FROM items LEFT JOIN (
            SELECT item_id, SUM(delta_available) AS units FROM stock_journal
            WHERE kind = 'returned' GROUP BY item_id
        ) journal ON journal.item_id = items.id
        LEFT JOIN (
            SELECT orders.item_id, SUM(orders.quantity) AS units FROM orders
            JOIN order_history ON order_history.order_number = orders.number
                AND order_history.ordinal = 2
            JOIN releases ON releases.number = orders.number
            WHERE orders.state IN ('cancelled', 'expired', 'refunded')
            GROUP BY orders.item_id
        ) given ON given.item_id = items.id
        WHERE COALESCE(journal.units, 0) <> COALESCE(given.units, 0)""",
}

LINES: dict[str, str] = {
    "promotions_have_their_order": """
        SELECT waitlist.id FROM waitlist
        LEFT JOIN orders ON orders.number = waitlist.order_number
            AND orders.item_id = waitlist.item_id AND orders.buyer = waitlist.buyer
        LEFT JOIN dead_letters ON dead_letters.number = waitlist.order_number
        WHERE waitlist.state = 'promoted' AND orders.number IS NULL
          AND dead_letters.number IS NULL""",
    "promotions_are_of_units_that_came_back": """
        SELECT line.item_id FROM (
            SELECT item_id, COUNT(*) AS units FROM waitlist
            WHERE state = 'promoted' GROUP BY item_id
        ) line
        LEFT JOIN (
            SELECT item_id, SUM(quantity) AS units FROM releases GROUP BY item_id
        ) given ON given.item_id = line.item_id
        LEFT JOIN (
            SELECT item_id, SUM(delta) AS units FROM stock_edits
            WHERE delta > 0 AND state <> 'refused' GROUP BY item_id
        ) edited ON edited.item_id = line.item_id
        WHERE line.units > COALESCE(given.units, 0) + COALESCE(edited.units, 0)""",
    "the_line_moves_in_order": """
        SELECT waiting.item_id FROM (
            SELECT item_id, MIN(id) AS first FROM waitlist WHERE ended_as = 0 GROUP BY item_id
        ) waiting
        JOIN (
            SELECT item_id, MAX(id) AS last FROM waitlist
            WHERE state = 'promoted' GROUP BY item_id
        ) promoted ON promoted.item_id = waiting.item_id
        WHERE promoted.last > waiting.first""",
    "nobody_waits_and_holds": """
        SELECT waitlist.id FROM waitlist
        JOIN items ON items.id = waitlist.item_id
        JOIN order_slots ON order_slots.buyer = waitlist.buyer
            AND order_slots.limit_group = items.limit_group AND order_slots.slot > 0
        JOIN orders ON orders.number = order_slots.order_number
            AND orders.item_id = waitlist.item_id
        WHERE waitlist.ended_as = 0""",
    "cancellations_are_applied": """
        SELECT cancellations.number FROM cancellations
        JOIN orders ON orders.number = cancellations.number
            AND orders.buyer = cancellations.buyer
        WHERE cancellations.applied_at_ms IS NULL OR orders.state <> 'cancelled'""",
}

OVERDUE = """
    SELECT orders.number FROM orders
    WHERE orders.state = 'awaiting_payment' AND orders.pay_by_ms < :overdue
      AND NOT EXISTS (SELECT 1 FROM payments WHERE payments.open_for = orders.number)
      AND NOT EXISTS (
        SELECT 1 FROM deadlines WHERE deadlines.kind = 'expire'
          AND deadlines.sale_id = orders.sale_id
          AND deadlines.first_number <= orders.number
          AND deadlines.last_number >= orders.number)"""
