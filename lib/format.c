/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/format.h"

#include "lib/string.h"

struct out {
	char *buf;
	size_t size;
	size_t len;
};

struct spec {
	bool left;
	bool zero;
	bool is_long;
	size_t width;
	size_t precision;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_field(struct out *o, const struct spec *spec, const char *sign, const char *s, size_t n)
{
	size_t used = strlen(sign) + n;
	size_t fill = spec->width > used ? spec->width - used : 0;

	if (!spec->left && !spec->zero)
		for (; fill; fill--)
			put(o, ' ');
	while (*sign)
		put(o, *sign++);
	if (!spec->left)
		for (; fill; fill--)
			put(o, '0');
	while (n--)
		put(o, *s++);
	for (; fill; fill--)
		put(o, ' ');
}

static void put_number(struct out *o, const struct spec *spec, const char *sign, u64 v, unsigned int base)
{
	char digits[20]; /* 2^64 has 20 decimal digits */
	size_t at = sizeof(digits);

	do
		digits[--at] = "0123456789abcdef"[v % base];
	while (v /= base);
	put_field(o, spec, sign, digits + at, sizeof(digits) - at);
}

static const char *parse_spec(struct spec *spec, const char *p, va_list *args)
{
	*spec = (struct spec){ .precision = SIZE_MAX };
	for (;; p++) {
		if (*p == '-')
			spec->left = true;
		else if (*p == '0')
			spec->zero = true;
		else
			break;
	}
	if (*p == '*') {
		spec->width = va_arg(*args, unsigned int);
		p++;
	}
	while (*p >= '0' && *p <= '9')
		spec->width = spec->width * 10 + (size_t)(*p++ - '0');
	if (*p == '.') {
		spec->precision = 0;
		if (*++p == '*') {
			spec->precision = va_arg(*args, unsigned int);
			p++;
		}
		while (*p >= '0' && *p <= '9')
			spec->precision = spec->precision * 10 + (size_t)(*p++ - '0');
	}
	if (*p == 'l') {
		spec->is_long = true;
		p++;
	}
	return p;
}

size_t format_va(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = { buf, size, 0 };
	va_list args;

	va_copy(args, ap);
	while (*fmt) {
		struct spec spec;
		const char *s;
		char c;
		long d;

		if (*fmt != '%') {
			put(&o, *fmt++);
			continue;
		}
		fmt = parse_spec(&spec, fmt + 1, &args);
		switch (*fmt) {
		case 's':
			s = va_arg(args, const char *);
			if (!s)
				s = "(null)";
			spec.zero = false;
			for (d = 0; (size_t)d < spec.precision && s[d]; d++)
				;
			put_field(&o, &spec, "", s, (size_t)d);
			break;
		case 'c':
			c = (char)va_arg(args, int);
			spec.zero = false;
			put_field(&o, &spec, "", &c, 1);
			break;
		case 'd':
			d = spec.is_long ? va_arg(args, long) : va_arg(args, int);
			put_number(&o, &spec, d < 0 ? "-" : "", d < 0 ? -(u64)d : (u64)d, 10);
			break;
		case 'u':
			put_number(&o, &spec, "", spec.is_long ? va_arg(args, u64) : va_arg(args, unsigned int), 10);
			break;
		case 'x':
			put_number(&o, &spec, "", spec.is_long ? va_arg(args, u64) : va_arg(args, unsigned int), 16);
			break;
		case '\0':
			fmt--;
			break;
		default:
			put(&o, *fmt);
		}
		fmt++;
	}
	va_end(args);
	if (size)
		buf[MIN(o.len, size - 1)] = '\0';
	return o.len;
}

size_t format(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	size_t n;

	va_start(args, fmt);
	n = format_va(buf, size, fmt, args);
	va_end(args);
	return n;
}
