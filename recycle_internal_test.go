package fairlead

import (
	"context"
	"reflect"
	"testing"
	"unsafe"
)

// filled sets all of v to something that is not zero.
func filled(t *testing.T, v reflect.Value) {
	t.Helper()
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem() // also where it is not exported
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			filled(t, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			filled(t, v.Index(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { panic("called") }))
	case reflect.Interface:
		for _, of := range []any{context.Background(), context.Canceled, "any"} {
			if reflect.TypeOf(of).Implements(v.Type()) {
				v.Set(reflect.ValueOf(of))
				return
			}
		}
		t.Fatalf("what is a %v?", v.Type())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		t.Fatalf("what is a %v?", v.Type())
	}
}

// Nothing of a call is left to the next that has its place.
func TestCallIsClearedAsAWhole(t *testing.T) {
	c := &call{}
	v := reflect.ValueOf(c).Elem()
	filled(t, v)
	for i := range v.NumField() {
		if v.Field(i).IsZero() && v.Field(i).Type().Size() > 0 {
			t.Fatalf("%s was not filled", v.Type().Field(i).Name)
		}
	}
	c.clear()
	var left func(v reflect.Value, name string)
	left = func(v reflect.Value, name string) {
		switch {
		case v.IsZero():
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				left(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		default:
			t.Errorf("%s is left", name)
		}
	}
	left(v, "call")
}
