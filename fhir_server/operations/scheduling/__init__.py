"""Operations on appointments, schedules and queues."""
